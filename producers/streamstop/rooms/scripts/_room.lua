-- What the scripts of rooms share, behind the settling. Every moment is Redis' own, in s.
--
-- More tasks than one script takes are staged as a batch, the hash streamstop.batch.<id>: 0, 1, … -> '<task>\n<command>',
-- and 'at': the number of the first that is not applied. One script accepts it; then it is applied in pieces.

local time = redis.call('TIME')
local now_s = tonumber(time[1])

-- Whether the vendor may have been called for a member: its stop ends nothing that is started from now on.
local function is_called(id, member)
    if redis.call('HEXISTS', shutdown_key(id, 'outcomes'), member) == 1 then return true end
    local job_id = redis.call('HGET', shutdown_key(id, 'jobs'), member)
    if not job_id then return false end
    -- A producer's user need not be one that may look there; then it may have been called.
    local held = redis.pcall('HMGET', 'streamstop.work.' .. lane_of(job_id) .. ':jobs', job_id .. ':owner', job_id .. ':tries')
    return held.err or held[1] or held[2] or redis.call('EXISTS', 'celery-task-meta-' .. job_id) == 1
end

-- Return the pairs of task and command that ARGV holds from `first` on, as two tables.
local function passed(first)
    local tasks, commands = {}, {}
    for at = first, #ARGV, 2 do
        tasks[#tasks + 1] = ARGV[at]
        commands[#commands + 1] = ARGV[at + 1]
    end
    return tasks, commands
end

-- Write stream tasks into a room's registry, which lasts `ttl` s from now on.
local function note(room, tasks, commands, ttl)
    local registry, fields = room_key(room, 'tasks'), {}
    for at, task in ipairs(tasks) do
        fields[at * 2 - 1] = task
        fields[at * 2] = commands[at]
    end
    redis.call('HSET', registry, unpack(fields))
    redis.call('EXPIRE', registry, ttl)
end

-- Make stream tasks members of a shutdown. Returns how many joined.
-- `started`: they have just been started, so that one whose stop was called already is to be stopped again.
local function join(id, of_tasks, commands, started)
    local key, tasks, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'todo')
    local again = shutdown_key(id, 'again')
    local joined = 0
    for at, task in ipairs(of_tasks) do
        local member = redis.call('HGET', again, task) or task
        if started and is_called(id, member) then
            member = task .. '\n' .. redis.call('HINCRBY', key, 'reopened', 1)
            redis.call('HSET', again, task, member)
        end
        if redis.call('HSETNX', tasks, member, commands[at]) == 1 then
            redis.call('RPUSH', todo, member)
            joined = joined + 1
        end
    end
    if joined > 0 then
        redis.call('HINCRBY', key, 'total', joined)
        redis.call('HSET', key, 'status', 'open')
        expire_shutdown(id, SHUTDOWN_OPEN)
        tell(id)
    end
    return joined
end

-- Return the id of the room's shutdown while it is open or has just closed.
local function closing(room)
    local held = redis.call('HMGET', room_key(room, 'state'), 'shutdown', 'closed_until')
    local id, closed_until = held[1], tonumber(held[2]) or 0
    if not id then return end
    local shutdown = redis.call('HMGET', shutdown_key(id), 'status', 'cancelled')
    if shutdown[1] and shutdown[2] ~= '1' and (is_closing(id) or closed_until > now_s) then
        return id
    end
end

local function batch_key(batch)
    return 'streamstop.batch.' .. batch
end

-- Whether an accepted batch of the room is not applied whole. Nothing is decided about the room before it is.
local function is_pending(room)
    return redis.call('HEXISTS', room_key(room, 'state'), 'batch') == 1
end

-- Whether a staged batch holds all of its entries; '' is none.
local function is_whole(batch, entries)
    return batch == '' or redis.call('HLEN', batch_key(batch)) == tonumber(entries)
end

-- Accept a batch that is whole: from now on it is applied before anything is decided about the room.
-- `kind` is 'registered' or 'stopped'; `joins` is the shutdown that its tasks join, or nil.
local function accept(room, batch, kind, joins, ttl)
    local state = room_key(room, 'state')
    redis.call('HSET', state, 'batch', batch, 'batch_kind', kind, 'batch_joins', joins or '', 'batch_ttl', ttl)
    redis.call('EXPIRE', state, math.max(tonumber(ttl), SHUTDOWN_OPEN))
    redis.call('EXPIRE', batch_key(batch), math.max(tonumber(ttl), SHUTDOWN_OPEN))
    if joins then
        redis.call('HSET', shutdown_key(joins), 'joining', 1, 'status', 'open')
        expire_shutdown(joins, SHUTDOWN_OPEN)
        tell(joins)
    end
end
