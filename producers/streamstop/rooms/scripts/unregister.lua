-- Take stream tasks out of a room's registry.
--
-- ARGV[1]   room
-- ARGV[2…]  task, …
-- Returns   how many were in it
local taken = 0
for at = 2, #ARGV do
    taken = taken + redis.call('HDEL', room_key(ARGV[1], 'tasks'), ARGV[at])
end
return taken
