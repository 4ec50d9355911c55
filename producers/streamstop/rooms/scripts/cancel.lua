-- Cancel an open shutdown: nothing more of it is put into lanes, and a control job takes back what waits there.
--
-- KEYS     none
-- ARGV[1]  id       of the shutdown
-- ARGV[2]  message  for the control lane: take back
-- Returns  1, or 0 where the shutdown is not open
local key = shutdown_key(ARGV[1])
if redis.call('HGET', key, 'status') ~= 'open' then return 0 end
redis.call('HSET', key, 'cancelled', 1)
queue_control(ARGV[2])
tell(ARGV[1])
return 1
