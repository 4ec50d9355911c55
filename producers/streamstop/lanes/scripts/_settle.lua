-- Settling: a stream task of a shutdown has ended, and is counted once. It stands after the lane's prelude, and before
-- the scripts of rooms.
--
-- streamstop.shutdown.<id>            hash  room, opened, total, ended, attention, scanned, cancelled, status, done,
--                                           verify, callback, calls, reopened, closed_for, n:<result>,
--                                           room_open: 1 once its room is in use again, and it is open for dead letters
--                                           joining: 1 while a batch of its room is not applied whole
-- streamstop.shutdown.<id>:tasks      hash  member -> command: every stream task of the shutdown
-- streamstop.shutdown.<id>:jobs       hash  member -> id of the job that stops it
-- streamstop.shutdown.<id>:todo       list  members whose job is not in its lane yet
-- streamstop.shutdown.<id>:again      hash  task -> its latest member, where it was started again
-- streamstop.shutdown.<id>:lanes      hash  <lane>:total, <lane>:ended
-- streamstop.shutdown.<id>:outcomes   hash  member -> outcome
-- streamstop.room.<name>:tasks        hash  task -> command: the registry
-- streamstop.room.<name>:state        hash  shutdown, closed_until, and of a batch that was accepted and is not applied
--                                           whole: batch (its id), batch_kind, batch_joins (a shutdown, or ''), batch_ttl
--
-- A member is a task, or a task and a number where the same task was started again while its room closed.

local SHUTDOWN_KEPT = 604800        -- s, after the last task has ended
local SHUTDOWN_OPEN = 2592000       -- s, the most that one can stay open
local CONTROL_LANE = '_control.room.Steps'
local CALLBACKS_LANE = '_control.room.Callbacks'
-- Results at which nobody needs to look. A dead letter has one where Redis failed over the last step of counting it.
local WELL = {stopped = true, already_stopped = true, verified = true, unverifiable = true, cancelled = true}

local function shutdown_key(id, part)
    return 'streamstop.shutdown.' .. id .. (part and (':' .. part) or '')
end

local function room_key(name, part)
    return 'streamstop.room.' .. name .. ':' .. part
end

local function expire_shutdown(id, seconds)
    redis.call('EXPIRE', shutdown_key(id), seconds)
    for _, part in ipairs({'tasks', 'jobs', 'todo', 'again', 'lanes', 'outcomes'}) do
        redis.call('EXPIRE', shutdown_key(id, part), seconds)
    end
end

-- Tell workers of the lanes that something was put into.
local function announce(...)
    redis.call('SADD', 'streamstop.arrivals', ...)
    if redis.call('LLEN', 'streamstop.wake') == 0 then redis.call('LPUSH', 'streamstop.wake', 1) end
end

local function queue_control(message, lane_name)
    redis.call('LPUSH', 'streamstop.lane.' .. (lane_name or CONTROL_LANE), message)
    announce(lane_name or CONTROL_LANE)
end

local function tell(id)
    redis.call('PUBLISH', shutdown_key(id), '')
end

-- Whether a shutdown is open, and so its room is closing.
local function is_closing(id)
    local held = redis.call('HMGET', shutdown_key(id), 'status', 'room_open')
    return held[1] == 'open' and held[2] ~= '1'
end

-- Close the shutdown if everything in it has ended.
local function conclude(id, now_s)
    local key = shutdown_key(id)
    local held = redis.call('HMGET', key, 'status', 'scanned', 'total', 'ended', 'attention', 'cancelled',
        'room', 'closed_for', 'callback', 'room_open', 'joining')
    if held[1] ~= 'open' or held[2] ~= '1' or held[3] ~= held[4] or held[11] then return end
    local status = 'done'
    if held[6] == '1' then
        status = 'cancelled'
    elseif tonumber(held[5]) > 0 then
        status = 'needs_attention'
    end
    redis.call('HSET', key, 'status', status, 'done', now_s)
    local state = room_key(held[7], 'state')
    if held[10] ~= '1' and redis.call('HGET', state, 'shutdown') == id then
        redis.call('HSET', state, 'closed_until', string.format('%.0f', now_s + held[8]))
    end
    expire_shutdown(id, SHUTDOWN_KEPT)
    if held[9] ~= '' then
        -- A late starter reopens a shutdown; so it can end more than once, and each end is told.
        local calls = redis.call('HINCRBY', key, 'calls', 1)
        local message = string.gsub(held[9], '@call@', calls)
        queue_control(message, CALLBACKS_LANE)
    end
end

-- Return the lane that a job's id names.
local function lane_of(job_id)
    return string.match(job_id, '^(.*)%.[^.]*$')
end

-- Count a member's outcome, once, in the lane of its stop: what verified it ended in another.
local function settle(id, member, lane_name, result, outcome, ok, attention, now_s)
    local key = shutdown_key(id)
    local room = redis.call('HGET', key, 'room')
    if not room then return end         -- the shutdown is forgotten: nothing of it may come back without an end
    -- Reads come first: a key of another type is an error while nothing is changed yet.
    local job_id = redis.call('HGET', shutdown_key(id, 'jobs'), member)
    redis.call('HLEN', shutdown_key(id, 'lanes'))
    local task = string.match(member, '^[^\n]*')
    local is_latest = ok and (redis.call('HGET', shutdown_key(id, 'again'), task) or task) == member
    if is_latest then redis.call('HLEN', room_key(room, 'tasks')) end
    if redis.call('HSETNX', shutdown_key(id, 'outcomes'), member, outcome) == 0 then return end
    if redis.call('HINCRBY', key, 'ended', 1) == 1 then
        expire_shutdown(id, SHUTDOWN_OPEN)
    end
    redis.call('HINCRBY', key, 'n:' .. result, 1)
    lane_name = job_id and lane_of(job_id) or lane_name
    redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':ended', 1)
    if not job_id then redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':total', 1) end
    if attention then redis.call('HINCRBY', key, 'attention', 1) end
    if is_latest then redis.call('HDEL', room_key(room, 'tasks'), task) end
    conclude(id, now_s)
    tell(id)
end

-- Take a member's outcome back, for its dead letter is requeued as `job_id`: the shutdown is open until that has ended.
-- The room is closing with it only if it had not been free to be used again: what runs there now is another's.
-- Returns whether the shutdown takes it: it is known, was not cancelled, and the letter is what it has of the member.
local function unsettle(id, member, letter_id, job_id, now_s)
    local key, outcomes, of_jobs = shutdown_key(id), shutdown_key(id, 'outcomes'), shutdown_key(id, 'jobs')
    local held = redis.call('HMGET', key, 'room', 'cancelled', 'status')
    local text = redis.call('HGET', outcomes, member)
    if not held[1] or held[2] == '1' then return false end
    if not text then    -- Redis failed over counting it, and its shutdown waits for it still
        if redis.call('HEXISTS', shutdown_key(id, 'tasks'), member) == 0 then return false end
        redis.call('HSET', of_jobs, member, job_id)
        return true
    end
    local outcome = cjson.decode(text)
    if outcome.job_id ~= letter_id then return false end
    redis.call('HDEL', outcomes, member)
    redis.call('HINCRBY', key, 'ended', -1)
    if not WELL[outcome.result] then redis.call('HINCRBY', key, 'attention', -1) end
    local result = 'n:' .. outcome.result
    if redis.call('HINCRBY', key, result, -1) == 0 then redis.call('HDEL', key, result) end
    local lane_name = lane_of(redis.call('HGET', of_jobs, member) or job_id)
    redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':ended', -1)
    redis.call('HSET', of_jobs, member, job_id)
    if held[3] ~= 'open' then
        local state = redis.call('HMGET', room_key(held[1], 'state'), 'shutdown', 'closed_until')
        if state[1] ~= id or (tonumber(state[2]) or 0) <= now_s then redis.call('HSET', key, 'room_open', 1) end
        redis.call('HSET', key, 'status', 'open')
    end
    expire_shutdown(id, SHUTDOWN_OPEN)
    tell(id)
    return true
end

-- Settle what ARGV says from `first` on: shutdown id ('' for a job of none), member, result, outcome, ok, attention.
local function settle_from(first, lane_name, now_s)
    local id = ARGV[first]
    if id and id ~= '' then
        settle(id, ARGV[first + 1], lane_name, ARGV[first + 2], ARGV[first + 3], ARGV[first + 4] == '1',
            ARGV[first + 5] == '1', now_s)
    end
end
