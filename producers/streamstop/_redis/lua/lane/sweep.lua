--! include lib/clock lib/lane lib/schedule lib/jobs lib/arrivals lib/announce
--! const SCHEDULE LEASED SWEPT BATCHES STAGED READY LANES PRIORITY_SEPARATOR
--! args most:int longest:int period:int
-- Mend what workers left: jobs whose lease ran out wait again. Only lanes whose first lease may have ended are looked at.
--
-- most     how many jobs to move at most
-- longest  µs, longer than any worker's lease
-- period   µs for which nobody else sweeps; 0: the caller has the turn already
-- Returns  nil where it is not the caller's turn;  else {1: there is more to mend at once, how many lanes had the moment
--          of their next look set anew for the clock, 1: there are batches, lane, lapsed leases, …}
local MOST_LANES = 100
local NEGLECTED = SECOND / 5       -- a lane that is due for so long is one that no worker is about to look at
local MOST_MOVED = 250
local clamped = 0
local MOST_COUNTED = 999999     -- that are counted

-- Only one worker sweeps at a time. Where the clock was set back, the moments of the schedule lie as much too far ahead:
-- each lane is looked at again. Redis keeps the moment of the last sweep, for its worker may be gone. A clock that was
-- set on and back between two sweeps shows by moments that nobody notes; what it put off by less, ten minutes at most, is
-- late by as much.
local last = tonumber(redis.call('GET', SWEPT)) or 0
if last <= now and now - last < period then return nil end
local arrived = schedule_arrivals()
local was_set_back = last > now
local moved = 0
for key, farthest in pairs({[SCHEDULE] = FARTHEST + SECOND, [LEASED] = longest + SECOND}) do
    local after = now + (was_set_back and 1 or farthest)
    local ahead = redis.call('ZRANGEBYSCORE', key, '(' .. integer(after), '+inf', 'LIMIT', 0, MOST_MOVED)
    local at = {}
    for _, name in ipairs(ahead) do
        at[#at + 1] = integer(now)
        at[#at + 1] = name
    end
    if #at > 0 then redis.call('ZADD', key, unpack(at)) end
    moved = math.max(moved, #ahead)
end
local again = moved == MOST_MOVED
if not (was_set_back and again) then redis.call('SET', SWEPT, integer(now), 'EX', PACE_TTL) end

-- Return the history of a job whose worker is gone or stuck: nobody knows whether the call was made, and the third number
-- counts it.
local function with_lapse(history)
    local attempts, calls, lapses, more = string.match(history or '', '^(%d+) (%d+) (%d+)(.*)')
    if not attempts then return '0 0 1 0 0 0' end
    return string.format('%s %s %.0f%s', attempts, calls, math.min(tonumber(lapses), MOST_COUNTED) + 1, more)
end

-- Let the jobs of a lane wait again whose lease ran out. Returns how many.
local function mend(lane)
    local leases = lane.leases
    local far = redis.call('ZRANGEBYSCORE', leases, integer(now + longest + 1), '+inf', 'LIMIT', 0, MOST_MOVED - clamped)
    clamped = clamped + #far
    local at = {}
    for _, id in ipairs(far) do     -- noted before the clock was set back
        at[#at + 1] = integer(now + longest)
        at[#at + 1] = id
    end
    if #at > 0 then redis.call('ZADD', leases, unpack(at)) end
    local lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, most)
    for i = #lapsed, 1, -1 do       -- the last goes to the front first, so that the order stays
        local id = lapsed[i]
        local held = redis.call('HMGET', lane.jobs, id, id .. ':tries')
        if held[1] then put_back(lane, held[1], with_lapse(held[2])) end
        forget(lane, id)
    end
    return #lapsed
end

-- Take over what versions before left: jobs that they had admitted for a worker to take, and what their lanes hold.
-- Producers of such a version do so still.
local function adopt()
    for _, key in ipairs({READY, READY .. PRIORITY_SEPARATOR .. '3'}) do
        for _ = 1, most do
            local message = redis.call('LPOP', key)     -- the last goes to the front first, so that the order stays
            if not message then break end
            local fields = decode(message)
            local id = type(fields.headers) == 'table' and fields.headers.id
            local info = type(fields.properties) == 'table' and fields.properties.delivery_info
            local name = type(info) == 'table' and string.match(tostring(info.routing_key), '^streamstop%.lane%.(.*)$')
            if name and type(id) == 'string' then
                local lane = open_lane(name)
                local held = redis.call('HMGET', lane.jobs, id, id .. ':owner', id .. ':tries')
                if held[1] and not held[2] then
                    put_back(lane, held[1], held[3] or '')
                    forget(lane, id)
                    schedule_at(lane, now)
                end
            end
        end
    end
    for _, name in ipairs(redis.call('SPOP', LANES, 100)) do
        local lane = open_lane(name)
        local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')
        set(lane, 'due', tonumber(first[2]) or 0)
        -- A producer of that version gives jobs to workers of its own as it enqueues, and would take a message that was
        -- put back with its history for none. It takes none where none may be in flight.
        local old = redis.call('HMGET', lane.pace_key, 'window', 'faults')
        if old[1] then
            if old[2] and old[2] ~= '0' then set(lane, 'failed', tonumber(old[2]) or 0) end
            redis.call('HSET', lane.pace_key, 'window', 0, 'faults', 0)
        end
        redis.call('ZADD', LEASED, 'LT', integer(now), name)
        schedule_at(lane, now)
    end
end

local batches = 0
if redis.call('EXISTS', BATCHES, STAGED, READY, READY .. PRIORITY_SEPARATOR .. '3', LANES) > 0 then
    batches = redis.call('EXISTS', BATCHES, STAGED) > 0 and 1 or 0
    adopt()
end

-- Mend a lane, and note in the index of leases when it is to be looked at again. Returns how many leases ran out.
local function look_after(name)
    local lane = open_lane(name)
    clamp(lane)
    local lapsed = mend(lane)
    local first = redis.call('ZRANGE', lane.leases, 0, 0, 'WITHSCORES')
    if first[2] then
        redis.call('ZADD', LEASED, first[2], name)
    else
        redis.call('ZREM', LEASED, name)
    end
    if lapsed > 0 then reschedule(lane) end
    return lapsed
end

local lapsed_of = {}
local names = redis.call('ZRANGEBYSCORE', LEASED, '-inf', integer(now), 'LIMIT', 0, MOST_LANES)
for _, name in ipairs(names) do
    if most <= 0 or clamped >= MOST_MOVED then break end
    local ok, lapsed = pcall(look_after, name)
    if not ok then      -- a key of another type, say, must not keep other lanes from being mended
        redis.call('ZADD', LEASED, integer(now + SECOND), name)
    elseif lapsed > 0 then
        lapsed_of[#lapsed_of + 1] = name
        lapsed_of[#lapsed_of + 1] = lapsed
        most = most - lapsed
    end
end
again = again or most <= 0 or clamped >= MOST_MOVED or #names == MOST_LANES
local first = save()
local due = redis.call('ZRANGE', SCHEDULE, 0, 0, 'WITHSCORES')[2]
if first or arrived > 0 or due and tonumber(due) < now - NEGLECTED then wake() end
return {again and 1 or 0, moved, batches, unpack(lapsed_of)}
