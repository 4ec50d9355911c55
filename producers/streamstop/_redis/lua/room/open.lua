--! include lib/clock lib/shutdown lib/room lib/batch lib/join lib/conclude lib/control
--! args room ttl:int id verify:flag callback closed_for:int fan_out batch staged:int entries(task command)...
-- Open a room's shutdown, or join the one that is open. What is passed is accepted whole.
--
-- room
-- ttl         of the room, s
-- id          of the shutdown, if it is a new one
-- verify      follow each stop until the vendor says that the task is over
-- callback    message for the control lane when the shutdown ends, with '@shutdown@' and '@call@'; or ''
-- closed_for  s after the end during which a task that is registered is stopped at once
-- fan_out     message for the control lane: fan out, with '@shutdown@'
-- batch       that is staged and holds what is passed beside what is registered; '': it is passed here
-- staged      how many entries the batch holds
-- entries     that are passed here
-- Returns     {'done', id}
--             {'pending'}: a batch of the room is to be applied first;  {'lost'}: the batch is not whole
if is_pending(room) then return {'pending'} end
if not is_whole(batch, staged) then return {'lost'} end
local state = room_key(room, 'state')
local current = redis.call('HGET', state, 'shutdown')
local new = not current or not is_closing(current) or redis.call('HGET', shutdown_key(current), 'cancelled') == '1'
if new then
    local message = string.gsub(callback, '@shutdown@', id)
    redis.call('HSET', shutdown_key(id), 'room', room, 'opened', now_s, 'total', 0, 'ended', 0, 'attention', 0,
        'scanned', 0, 'status', 'open', 'verify', verify and 1 or 0, 'callback', message, 'closed_for', closed_for,
        'expected', redis.call('HLEN', room_key(room, 'tasks')))
    redis.call('EXPIRE', shutdown_key(id), SHUTDOWN_OPEN)
    redis.call('HSET', state, 'shutdown', id)
    redis.call('HDEL', state, 'closed_until')
else
    id = current
end
redis.call('EXPIRE', state, ttl)
redis.call('EXPIRE', room_key(room, 'tasks'), ttl)
local joined
if batch ~= '' then
    accept(room, batch, 'stopped', id, ttl)
    joined = 1
else
    joined = join(id, entries, false)
end
if new and joined == 0 and redis.call('EXISTS', room_key(room, 'tasks')) == 0 then
    redis.call('HSET', shutdown_key(id), 'scanned', 1)
    conclude(id)
elseif new or joined > 0 then
    local message = string.gsub(fan_out, '@shutdown@', id)
    queue_control(message)
end
return {'done', id}
