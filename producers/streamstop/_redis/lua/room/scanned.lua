--! include lib/shutdown lib/conclude
--! args id
-- The registry has been fanned out whole.
--
-- id       of the shutdown
-- Returns  1
redis.call('HSET', shutdown_key(id), 'scanned', 1)
conclude(id)
tell(id)
return 1
