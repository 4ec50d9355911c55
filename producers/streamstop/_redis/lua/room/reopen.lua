--! include lib/shutdown lib/room
--! args room
-- Reopen a closed room: tasks that are registered in it are no longer stopped at once.
--
-- room
-- Returns  {'done', 1}, or {'done', 0} if its shutdown is still open and goes on
--          {'pending'}: a batch of the room must be applied first
if is_pending(room) then return {'pending'} end
local state = room_key(room, 'state')
local id = redis.call('HGET', state, 'shutdown')
if id and is_closing(id) then return {'done', 0} end
redis.call('HDEL', state, 'shutdown', 'closed_until')
return {'done', 1}
