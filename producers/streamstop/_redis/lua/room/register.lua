--! include lib/clock lib/shutdown lib/room lib/batch lib/registry lib/join lib/control
--! args room ttl:int fan_out batch staged:int entries(task command)...
-- Register stream tasks that run in a room. In a room that is closing, they are stopped at once.
--
-- room
-- ttl      of the room, s
-- fan_out  message of the control job that fans out, for a room that is closing; '@shutdown@' is replaced by the id
-- batch    id of a staged batch that holds the tasks; '': they are arguments
-- staged   how many entries the batch must hold
-- entries  the tasks
-- Returns  {'done', id of the shutdown that the tasks joined, or '' if the room is open}
--          {'pending'}: a batch of the room must be applied first;  {'lost'}: the batch is incomplete

-- Return the id of the room's shutdown while it is open, and for a while after its end.
local function closing_shutdown()
    local current, closed_until = unpack(redis.call('HMGET', room_key(room, 'state'), 'shutdown', 'closed_until'))
    if not current then return end
    local status, cancelled = unpack(redis.call('HMGET', shutdown_key(current), 'status', 'cancelled'))
    if status and cancelled ~= '1' and (is_closing(current) or (tonumber(closed_until) or 0) > now_s) then
        return current
    end
end

if is_pending(room) then return {'pending'} end
if not is_complete(batch, staged) then return {'lost'} end
local id = closing_shutdown()
local joined
if batch ~= '' then
    accept_batch(room, batch, 'registered', id, ttl)
    joined = 1
else
    write_registry(room, entries, ttl)
    redis.call('EXPIRE', room_key(room, 'state'), ttl)
    joined = id and join(id, entries, true)
end
if id and joined > 0 then
    local message = string.gsub(fan_out, '@shutdown@', id)
    queue_control(message)
end
return {'done', id or ''}
