-- Note stream tasks that run in a room; in a room that is closing they are stopped at once.
--
-- KEYS      none
-- ARGV[1]   room
-- ARGV[2]   ttl      of the room, s
-- ARGV[3]   message  for the control lane: fan out the shutdown, where the room is closing; '@shutdown@' is its id
-- ARGV[4]   batch    that is staged and holds the tasks; '': they are passed here
-- ARGV[5]   entries  how many the batch holds
-- ARGV[6…]  task, command, …
-- Returns   {'done', id of the shutdown that the tasks joined, or '' where the room is open}
--           {'pending'}: a batch of the room is to be applied first;  {'lost'}: the batch is not whole
local room, ttl, batch = ARGV[1], ARGV[2], ARGV[4]
if is_pending(room) then return {'pending'} end
if not is_whole(batch, ARGV[5]) then return {'lost'} end
local id = closing(room)
local joined
if batch ~= '' then
    accept(room, batch, 'registered', id, ttl)
    joined = 1
else
    local tasks, commands = passed(6)
    note(room, tasks, commands, ttl)
    redis.call('EXPIRE', room_key(room, 'state'), ttl)
    joined = id and join(id, tasks, commands, true)
end
if id and joined > 0 then
    local message = string.gsub(ARGV[3], '@shutdown@', id)
    queue_control(message)
end
return {'done', id or ''}
