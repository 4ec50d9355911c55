-- The registry has been fanned out whole.
--
-- ARGV[1]  id
redis.call('HSET', shutdown_key(ARGV[1]), 'scanned', 1)
conclude(ARGV[1], now_s)
tell(ARGV[1])
return 1
