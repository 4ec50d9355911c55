--! include lib/shutdown lib/room
--! args room tasks...
-- Take stream tasks out of a room's registry.
--
-- room
-- tasks
-- Returns  {'done', how many were registered}
--          {'pending'}: a batch of the room must be applied first
if is_pending(room) then return {'pending'} end
local removed = 0
for _, task in ipairs(tasks) do
    removed = removed + redis.call('HDEL', room_key(room, 'tasks'), task)
end
return {'done', removed}
