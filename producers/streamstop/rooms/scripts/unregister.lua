-- Take stream tasks out of a room's registry.
--
-- KEYS      none
-- ARGV[1]   room
-- ARGV[2…]  task, …
-- Returns   {'done', how many were in it}
--           {'pending'}: a batch of the room is to be applied first
if is_pending(ARGV[1]) then return {'pending'} end
local taken = 0
for at = 2, #ARGV do
    taken = taken + redis.call('HDEL', room_key(ARGV[1], 'tasks'), ARGV[at])
end
return {'done', taken}
