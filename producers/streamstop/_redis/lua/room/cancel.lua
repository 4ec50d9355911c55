--! include lib/shutdown lib/control
--! args id message
-- Cancel an open shutdown: no more of its jobs are put into lanes, and a control job cancels those that wait there.
--
-- id       of the shutdown
-- message  of the control job that cancels
-- Returns  1, or 0 if the shutdown is not open
local key = shutdown_key(id)
if redis.call('HGET', key, 'status') ~= 'open' then return 0 end
redis.call('HSET', key, 'cancelled', 1)
queue_control(message)
publish_change(id)
return 1
