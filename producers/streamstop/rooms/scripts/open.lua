-- Open a room's shutdown, or join the one that is open. What is passed is accepted whole.
--
-- ARGV[1]   room
-- ARGV[2]   ttl         of the room, s
-- ARGV[3]   id          of the shutdown, if it is a new one
-- ARGV[4]   verify      1: follow each stop until the vendor says that the task is over
-- ARGV[5]   callback    message for the control lane when the shutdown ends, with '@shutdown@' and '@call@'; or ''
-- ARGV[6]   closed_for  s after the end during which a task that is registered is stopped at once
-- ARGV[7]   message     for the control lane: fan out, with '@shutdown@'
-- ARGV[8…]  task, command, …: what is passed beside what is registered
-- Returns   {id, 1 if it is new}
local room = ARGV[1]
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
redis.call('EXPIRE', state, ARGV[2])
redis.call('EXPIRE', room_key(room, 'tasks'), ARGV[2])
local joined = join(id, 8, false)
if new and joined == 0 and redis.call('EXISTS', room_key(room, 'tasks')) == 0 then
    redis.call('HSET', shutdown_key(id), 'scanned', 1)
    conclude(id, now_s)
elseif new or joined > 0 then
    local message = string.gsub(ARGV[7], '@shutdown@', id)
    queue_control(message)
end
return {id, new and 1 or 0}
