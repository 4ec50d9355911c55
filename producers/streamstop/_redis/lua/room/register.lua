--! include lib/clock lib/shutdown lib/room lib/batch lib/registry lib/join lib/control
--! args room ttl:int fan_out batch staged:int entries(task command)...
-- Note stream tasks that run in a room; in a room that is closing they are stopped at once.
--
-- room
-- ttl      of the room, s
-- fan_out  message for the control lane: fan out the shutdown, where the room is closing; '@shutdown@' is its id
-- batch    that is staged and holds the tasks; '': they are passed here
-- staged   how many entries the batch holds
-- entries  that are passed here
-- Returns  {'done', id of the shutdown that the tasks joined, or '' where the room is open}
--          {'pending'}: a batch of the room is to be applied first;  {'lost'}: the batch is not whole

-- Return the id of the room's shutdown while it is open or has just closed.
local function closing()
    local held = redis.call('HMGET', room_key(room, 'state'), 'shutdown', 'closed_until')
    local current, closed_until = held[1], tonumber(held[2]) or 0
    if not current then return end
    local shutdown = redis.call('HMGET', shutdown_key(current), 'status', 'cancelled')
    if shutdown[1] and shutdown[2] ~= '1' and (is_closing(current) or closed_until > now_s) then
        return current
    end
end

if is_pending(room) then return {'pending'} end
if not is_whole(batch, staged) then return {'lost'} end
local id = closing()
local joined
if batch ~= '' then
    accept(room, batch, 'registered', id, ttl)
    joined = 1
else
    note(room, entries, ttl)
    redis.call('EXPIRE', room_key(room, 'state'), ttl)
    joined = id and join(id, entries, true)
end
if id and joined > 0 then
    local message = string.gsub(fan_out, '@shutdown@', id)
    queue_control(message)
end
return {'done', id or ''}
