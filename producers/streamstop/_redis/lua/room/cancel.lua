--! include lib/shutdown lib/control
--! args id message
-- Cancel an open shutdown: nothing more of it is put into lanes, and a control job takes back what waits there.
--
-- id       of the shutdown
-- message  for the control lane: take back
-- Returns  1, or 0 where the shutdown is not open
local key = shutdown_key(id)
if redis.call('HGET', key, 'status') ~= 'open' then return 0 end
redis.call('HSET', key, 'cancelled', 1)
queue_control(message)
tell(id)
return 1
