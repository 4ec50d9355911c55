--! include lib/shutdown lib/room
--! args room tasks...
-- Take stream tasks out of a room's registry.
--
-- room
-- tasks
-- Returns  {'done', how many were in it}
--          {'pending'}: a batch of the room is to be applied first
if is_pending(room) then return {'pending'} end
local taken = 0
for _, task in ipairs(tasks) do
    taken = taken + redis.call('HDEL', room_key(room, 'tasks'), task)
end
return {'done', taken}
