-- The registry has been fanned out whole.
--
-- KEYS     none
-- ARGV[1]  id  of the shutdown
-- Returns  1
redis.call('HSET', shutdown_key(ARGV[1]), 'scanned', 1)
conclude(ARGV[1], now_s)
tell(ARGV[1])
return 1
