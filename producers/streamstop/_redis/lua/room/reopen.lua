--! include lib/shutdown lib/room
--! args room
-- End the time in which tasks that are registered in a closed room are stopped at once.
--
-- room
-- Returns  {'done', 1}, or {'done', 0} where its shutdown is still open, and goes on
--          {'pending'}: a batch of the room is to be applied first
if is_pending(room) then return {'pending'} end
local state = room_key(room, 'state')
local id = redis.call('HGET', state, 'shutdown')
if id and is_closing(id) then return {'done', 0} end
redis.call('HDEL', state, 'shutdown', 'closed_until')
return {'done', 1}
