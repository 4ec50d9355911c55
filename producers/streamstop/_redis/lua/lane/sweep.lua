--! include lib/clock lib/lane lib/schedule lib/jobs lib/arrivals lib/announce lib/writing
--! const SCHEDULE LEASED SWEPT ARRIVALS CONTROLS BATCHES STAGED READY LANES PRIORITY_SEPARATOR
--! args most:int longest:int period:int
-- Return jobs whose leases have expired to their lanes. Only lanes whose first lease may have ended are looked at.
--
-- most     how many jobs to return at most
-- longest  µs, longer than any worker's lease
-- period   µs between two sweeps; 0: the caller continues its own sweep
-- Returns  nil if another worker has swept within the period;  else {1: there is more to do at once, how many lanes were
--          rescheduled because the clock was set back, 1: there are batches, 1: there are controls, {{lane, expired
--          leases}, …}, {{lane, error}, …: lanes with a key that fails in Redis}, moment of the last sweep, moment of this one}
local MOST_LANES = 100
local MOST_CLAMPED = 250
local MOST_COUNTED = 999999         -- the counter stays there
local OVERDUE = SECOND / 5          -- a lane that has been due for so long needs a worker to be woken
local KEPT = 2592000                -- s: ends of shutdowns are logged from the last sweep on, for as long as they are indexed

local clamped = 0

-- Redis keeps the moment of the last sweep, so that one worker sweeps at a time. If that moment is in the future, the clock
-- was set back, and the moments of the schedule lie too far ahead: every lane is rescheduled to now. A clock that was set
-- forward and back between two sweeps is recognised by moments that are farther ahead than any that is written. A lane that
-- is delayed by less, ten minutes at most, stays late by that much.
local last = tonumber(redis.call('GETEX', SWEPT)) or 0
has_written = true                  -- Redis takes GETEX for a write, and it needs no memory: see lib/writing
if last <= now and now - last < period then return nil end
local was_set_back = last > now
local rescheduled = 0
for key, farthest in pairs({[SCHEDULE] = FARTHEST + SECOND, [LEASED] = longest + SECOND}) do
    local after = now + (was_set_back and 1 or farthest)
    local ahead = redis.call('ZRANGEBYSCORE', key, '(' .. integer(after), '+inf', 'LIMIT', 0, MOST_CLAMPED)
    local at = {}
    for _, name in ipairs(ahead) do
        at[#at + 1] = integer(now)
        at[#at + 1] = name
    end
    if #at > 0 then redis.call('ZADD', key, unpack(at)) end
    rescheduled = math.max(rescheduled, #ahead)
end
local again = rescheduled == MOST_CLAMPED
if not (was_set_back and again) then redis.call('SET', SWEPT, integer(now), 'EX', KEPT) end

-- Return the history with one more lost delivery, its third number: the worker is gone or stuck, and whether it made the
-- call is unknown.
local function add_lost_delivery(history)
    local attempts, calls, lost, more = string.match(history or '', '^(%d+) (%d+) (%d+)(.*)')
    if not attempts then return '0 0 1 0 0 0' end
    return string.format('%s %s %.0f%s', attempts, calls, math.min(tonumber(lost), MOST_COUNTED) + 1, more)
end

-- Return a lane's jobs whose leases have expired to the front of the lane. Return how many there were.
local function return_expired(lane)
    local leases = lane.leases
    local far = redis.call('ZRANGEBYSCORE', leases, integer(now + longest + 1), '+inf', 'LIMIT', 0, MOST_CLAMPED - clamped)
    clamped = clamped + #far
    local at = {}
    for _, id in ipairs(far) do     -- written before the clock was set back
        at[#at + 1] = integer(now + longest)
        at[#at + 1] = id
    end
    if #at > 0 then redis.call('ZADD', leases, unpack(at)) end
    local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, most)
    for i = #expired, 1, -1 do      -- the last is pushed first, so that the order stays
        local id = expired[i]
        local message, history = unpack(redis.call('HMGET', lane.jobs, id, id .. ':tries'))
        if message then push_to_front(lane, message, add_lost_delivery(history)) end
        remove_job(lane, id)
    end
    return #expired
end

-- Take over the jobs of earlier versions: those in their one queue for workers, and those in their lanes. Producers of
-- these versions may still be enqueueing.
local function take_over_jobs()
    if redis.call('EXISTS', READY, READY .. PRIORITY_SEPARATOR .. '3', LANES) == 0 then return end
    for _, key in ipairs({READY, READY .. PRIORITY_SEPARATOR .. '3'}) do
        for _ = 1, most do
            local message = redis.call('LPOP', key)     -- the last is pushed first, so that the order stays
            if not message then break end
            local fields = decode(message)
            local id = type(fields.headers) == 'table' and fields.headers.id
            local info = type(fields.properties) == 'table' and fields.properties.delivery_info
            local name = type(info) == 'table' and string.match(tostring(info.routing_key), '^streamstop%.lane%.(.*)$')
            if name and type(id) == 'string' then
                local lane = open_lane(name)
                local stored, owner, history = unpack(redis.call('HMGET', lane.jobs, id, id .. ':owner', id .. ':tries'))
                if stored and not owner then
                    push_to_front(lane, stored, history or '')
                    remove_job(lane, id)
                    schedule_at(lane, now)
                end
            end
        end
    end
    for _, name in ipairs(redis.call('SPOP', LANES, 100)) do
        local lane = open_lane(name)
        local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')
        set(lane, 'due', tonumber(first[2]) or 0)
        -- A producer of such a version gives jobs to its own workers as it enqueues. It could not read a message that was
        -- returned with its history. It gives no job of a lane whose window is 0.
        local window, faults = unpack(redis.call('HMGET', lane.pace_key, 'window', 'faults'))
        if window then
            if faults and faults ~= '0' then set(lane, 'failed', tonumber(faults) or 0) end
            redis.call('HSET', lane.pace_key, 'window', 0, 'faults', 0)
        end
        redis.call('ZADD', LEASED, 'LT', integer(now), name)
        schedule_at(lane, now)
    end
end

local arrived, batches, controls = 0, 0, 0
-- Most sweeps find none of these, and one command says so.
if redis.call('EXISTS', ARRIVALS, CONTROLS, BATCHES, STAGED, READY, READY .. PRIORITY_SEPARATOR .. '3', LANES) > 0 then
    arrived = schedule_arrivals()
    batches = redis.call('EXISTS', BATCHES, STAGED) > 0 and 1 or 0
    controls = redis.call('EXISTS', CONTROLS)
    take_over_jobs()
end

-- Sweep a lane, and write the moment of the next look into the index of leases. Return how many leases had expired.
local function sweep_lane(name)
    local lane = open_lane(name)
    clamp(lane)
    local expired = return_expired(lane)
    local first = redis.call('ZRANGE', lane.leases, 0, 0, 'WITHSCORES')
    if first[2] then
        redis.call('ZADD', LEASED, first[2], name)
    else
        redis.call('ZREM', LEASED, name)
    end
    if expired > 0 then reschedule(lane) end
    return expired
end

local expired_leases, broken = {}, {}
local names = redis.call('ZRANGEBYSCORE', LEASED, '-inf', integer(now), 'LIMIT', 0, MOST_LANES)
for _, name in ipairs(names) do
    if most <= 0 or clamped >= MOST_CLAMPED then break end
    local ok, expired = pcall(sweep_lane, name)     -- or the error
    if not ok then      -- as at a key of another type: the other lanes are still swept
        redis.call('ZADD', LEASED, integer(now + SECOND), name)
        broken[#broken + 1] = {name, tostring(type(expired) == 'table' and expired.err or expired)}
    elseif expired > 0 then
        expired_leases[#expired_leases + 1] = {name, expired}
        most = most - expired
    end
end
again = again or most <= 0 or clamped >= MOST_CLAMPED or #names == MOST_LANES
local first = save()
local due = redis.call('ZRANGE', SCHEDULE, 0, 0, 'WITHSCORES')[2]
if first or arrived > 0 or due and tonumber(due) < now - OVERDUE then wake() end
return {again and 1 or 0, rescheduled, batches, controls, expired_leases, broken, integer(last), integer(now)}
