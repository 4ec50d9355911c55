--! include lib/shutdown lib/conclude
--! args id
-- Record that the whole registry has been fanned out.
--
-- id       of the shutdown
-- Returns  1
redis.call('HSET', shutdown_key(id), 'scanned', 1)
conclude(id)
publish_change(id)
return 1
