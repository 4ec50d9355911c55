-- End the time in which tasks that are registered in a closed room are stopped at once.
--
-- ARGV[1]  room
-- Returns  1, or 0 where its shutdown is still open, and goes on
local state = room_key(ARGV[1], 'state')
local id = redis.call('HGET', state, 'shutdown')
if id and is_closing(id) then return 0 end
redis.call('HDEL', state, 'shutdown', 'closed_until')
return 1
