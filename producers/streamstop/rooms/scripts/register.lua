-- Note stream tasks that run in a room; in a room that is closing they are stopped at once.
--
-- ARGV[1]   room
-- ARGV[2]   ttl      of the room, s
-- ARGV[3]   message  for the control lane: fan out the shutdown, where the room is closing; '@shutdown@' is its id
-- ARGV[4…]  task, command, …
-- Returns   the id of the shutdown that the tasks joined, or '' where the room is open
local room, ttl = ARGV[1], ARGV[2]
local registry = room_key(room, 'tasks')
for at = 4, #ARGV, 2 do
    redis.call('HSET', registry, ARGV[at], ARGV[at + 1])
end
redis.call('EXPIRE', registry, ttl)
redis.call('EXPIRE', room_key(room, 'state'), ttl)
local id = closing(room)
if not id then return '' end
if join(id, 4, true) > 0 then
    local message = string.gsub(ARGV[3], '@shutdown@', id)
    queue_control(message)
end
return id
