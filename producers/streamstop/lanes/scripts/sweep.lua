-- Mend what workers left: jobs whose lease ran out wait again. Only lanes whose first lease may have ended are looked at.
--
-- ARGV[1]  most     how many jobs to move at most
-- ARGV[2]  lease    µs, longer than any worker's
-- ARGV[3]  last     moment of the sweep before, or 0: a clock that was set back since is noticed by it
-- ARGV[4]  period   ms for which nobody else sweeps; 0: the caller has the turn already
-- Returns  nil where it is not the caller's turn;  else {now, how many lanes had the moment of their next look set anew for the clock, lane, lapsed leases, …}
local most, longest, last = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local MOST_LANES = 200
local NEGLECTED = SECOND / 5
local OLD_READY, OLD_LANES = 'streamstop.ready', 'streamstop.lanes'

local SWEEPER = 'streamstop.sweeper'

local period = tonumber(ARGV[4])
if period > 0 then
    local held = redis.call('PTTL', SWEEPER)
    if held > 0 and held <= period then return nil end      -- longer: the clock was set back since
end
begin_writing()
if period > 0 then redis.call('SET', SWEEPER, 1, 'PX', period) end
local moved = 0
if last > now + SECOND then
    -- The clock was set back, and every moment of the schedule lies as much too far ahead: each lane is looked at again.
    for _, key in ipairs({SCHEDULE, LEASED}) do
        local ahead = redis.call('ZRANGEBYSCORE', key, integer(now + 1), '+inf', 'LIMIT', 0, 1000)
        local at = {}
        for _, name in ipairs(ahead) do
            at[#at + 1] = integer(now)
            at[#at + 1] = name
        end
        if #at > 0 then redis.call('ZADD', key, unpack(at)) end
        moved = moved + #ahead
    end
end

-- Let the jobs of a lane wait again whose lease ran out. Returns how many.
local function mend(lane)
    local leases = lane.leases
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, integer(now + longest + 1), '+inf', 'LIMIT', 0, most)) do
        redis.call('ZADD', leases, integer(now + longest), id)     -- noted before the clock was set back
    end
    local lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, most)
    for i = #lapsed, 1, -1 do       -- the last goes to the front first, so that the order stays
        local id = lapsed[i]
        local held = redis.call('HMGET', lane.jobs, id, id .. ':tries')
        if held[1] then
            -- Its worker is gone or stuck, and nobody knows whether the call was made: the third number counts it.
            local attempts, calls, lapses, more = string.match(held[2] or '0 0 0 0 0 0', '^(%d+) (%d+) (%d+)(.*)')
            put_back(lane, held[1], string.format('%d %d %d%s', attempts, calls, lapses + 1, more))
        end
        forget(lane, id)
    end
    return #lapsed
end

-- Take over what versions before left: jobs that they had admitted for a worker to take, and what their lanes hold.
-- Producers of such a version do so still.
local function adopt()
    for _, key in ipairs({OLD_READY, OLD_READY .. '\6\0223'}) do
        for _ = 1, most do
            local message = redis.call('RPOP', key)
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
                    reschedule(lane)
                end
            end
        end
    end
    for _, name in ipairs(redis.call('SPOP', OLD_LANES, 100)) do
        local lane = open_lane(name)
        local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')
        set(lane, 'due', tonumber(first[2]) or 0)
        redis.call('ZADD', LEASED, 'LT', integer(now), name)
        reschedule(lane)
    end
end

if redis.call('EXISTS', OLD_READY, OLD_READY .. '\6\0223', OLD_LANES) > 0 then adopt() end

local reply = {integer(now), moved}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', LEASED, '-inf', integer(now), 'LIMIT', 0, MOST_LANES)) do
    if most <= 0 then break end
    local lane = open_lane(name)
    local lapsed = mend(lane)
    local first = redis.call('ZRANGE', lane.leases, 0, 0, 'WITHSCORES')
    if first[2] then
        redis.call('ZADD', LEASED, first[2], name)
    else
        redis.call('ZREM', LEASED, name)
    end
    if lapsed > 0 then
        reschedule(lane)
        reply[#reply + 1] = name
        reply[#reply + 1] = lapsed
        most = most - lapsed
    end
end
local arrived = schedule_arrivals()
local first = save()
local due = redis.call('ZRANGE', SCHEDULE, 0, 0, 'WITHSCORES')[2]
-- A lane that is due for a while is one that no worker is about to look at.
if first or arrived > 0 or due and tonumber(due) < now - NEGLECTED then wake() end
return reply
