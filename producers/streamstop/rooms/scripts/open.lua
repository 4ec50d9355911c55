-- Open a room's shutdown, or join the one that is open. What is passed is accepted whole.
--
-- KEYS      none
-- ARGV[1]   room
-- ARGV[2]   ttl         of the room, s
-- ARGV[3]   id          of the shutdown, if it is a new one
-- ARGV[4]   verify      1: follow each stop until the vendor says that the task is over
-- ARGV[5]   callback    message for the control lane when the shutdown ends, with '@shutdown@' and '@call@'; or ''
-- ARGV[6]   closed_for  s after the end during which a task that is registered is stopped at once
-- ARGV[7]   message     for the control lane: fan out, with '@shutdown@'
-- ARGV[8]   batch       that is staged and holds what is passed beside what is registered; '': it is passed here
-- ARGV[9]   entries     how many the batch holds
-- ARGV[10…] task, command, …
-- Returns   {'done', id}
--           {'pending'}: a batch of the room is to be applied first;  {'lost'}: the batch is not whole
local room, ttl, batch = ARGV[1], ARGV[2], ARGV[8]
if is_pending(room) then return {'pending'} end
if not is_whole(batch, ARGV[9]) then return {'lost'} end
local state = room_key(room, 'state')
local id = redis.call('HGET', state, 'shutdown')
local new = not id or not is_closing(id) or redis.call('HGET', shutdown_key(id), 'cancelled') == '1'
if new then
    id = ARGV[3]
    local callback = string.gsub(ARGV[5], '@shutdown@', id)
    redis.call('HSET', shutdown_key(id), 'room', room, 'opened', now_s, 'total', 0, 'ended', 0, 'attention', 0,
        'scanned', 0, 'status', 'open', 'verify', ARGV[4], 'callback', callback, 'closed_for', ARGV[6],
        'expected', redis.call('HLEN', room_key(room, 'tasks')))
    redis.call('EXPIRE', shutdown_key(id), SHUTDOWN_OPEN)
    redis.call('HSET', state, 'shutdown', id)
    redis.call('HDEL', state, 'closed_until')
end
redis.call('EXPIRE', state, ttl)
redis.call('EXPIRE', room_key(room, 'tasks'), ttl)
local joined
if batch ~= '' then
    accept(room, batch, 'stopped', id, ttl)
    joined = 1
else
    local tasks, commands = passed(10)
    joined = join(id, tasks, commands, false)
end
if new and joined == 0 and redis.call('EXISTS', room_key(room, 'tasks')) == 0 then
    redis.call('HSET', shutdown_key(id), 'scanned', 1)
    conclude(id, now_s)
elseif new or joined > 0 then
    local message = string.gsub(ARGV[7], '@shutdown@', id)
    queue_control(message)
end
return {'done', id}
