--! include lib/clock lib/shutdown lib/room lib/batch lib/join lib/conclude lib/control
--! args room ttl:int id verify:flag callback closed_for:int fan_out trace batch staged:int entries(task command)...
-- Open a room's shutdown, or join the one that is open. All entries are accepted, or none.
--
-- room
-- ttl         of the room, s
-- id          of the shutdown, if a new one is opened
-- verify      follow each stop until the vendor says that the task is over
-- callback    message of the job that calls back when the shutdown ends, with '@shutdown@' and '@call@' to replace; or ''
-- closed_for  for how many s after the end a task that is registered is stopped at once
-- fan_out     message of the control job that fans out, with '@shutdown@' to replace
-- trace       headers of the jobs that name the trace which opens the shutdown, as JSON; '': none
-- batch       id of a staged batch that holds the entries; '': they are arguments
-- staged      how many entries the batch must hold
-- entries     commands to stop beside those that are registered
-- Returns     {'done', id}
--             {'pending'}: a batch of the room must be applied first;  {'lost'}: the batch is incomplete
if is_pending(room) then return {'pending'} end
if not is_complete(batch, staged) then return {'lost'} end
local state = room_key(room, 'state')
local current = redis.call('HGET', state, 'shutdown')
local new = not current or not is_closing(current) or redis.call('HGET', shutdown_key(current), 'cancelled') == '1'
if new then
    local message = string.gsub(callback, '@shutdown@', id)
    redis.call('HSET', shutdown_key(id), 'room', room, 'opened', now_s, 'total', 0, 'ended', 0, 'attention', 0,
        'scanned', 0, 'verify', verify and 1 or 0, 'callback', message, 'closed_for', closed_for,
        'expected', redis.call('HLEN', room_key(room, 'tasks')))
    if trace ~= '' then redis.call('HSET', shutdown_key(id), 'trace', trace) end
    write_status(id, 'open')
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
    accept_batch(room, batch, 'stopped', id, ttl)
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
