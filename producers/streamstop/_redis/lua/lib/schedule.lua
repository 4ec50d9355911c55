--! include lib/clock lib/lane lib/writing
--! const SCHEDULE RECENT
-- Schedules the next look at each lane, and saves the lanes that a run has changed.

local LEAD = SECOND * 0.03          -- how far ahead of the lane's next slot a worker looks at it
local PACE_TTL = 86400              -- s; it counts from the lane's last call, or up to an hour before
local HOUR = 3600 * SECOND

-- Schedule the next look at the lane at `at`; false: at no time, until something changes.
local function schedule_at(lane, at)
    lane.scheduled = at and math.max(at, now)   -- due lanes take turns: a lane that was served goes behind
end

-- Return the moment of the next look at a lane that holds jobs. A pause and a hold may end at any time.
local function next_look(lane)
    if lane.paused > now then return math.min(lane.paused, now + SECOND) end
    if lane.held == 1 then return math.max(now + SECOND, next_slot(lane) - LEAD) end
    return next_slot(lane) - LEAD
end

-- Schedule the next look at the lane for when it can next give a job.
local function reschedule(lane)
    local holds = redis.call('EXISTS', lane.waiting[1], lane.waiting[2], lane.waiting[3], lane.waiting[4]) > 0
    -- The window is known only once a worker has written the lane's pace.
    if holds and lane.places > 0 and redis.call('ZCARD', lane.leases) >= window_of(lane) then
        set(lane, 'full', 1)
        schedule_at(lane, false)
        return
    end
    set(lane, 'full', 0)
    set(lane, 'busy', holds and 1 or 0)
    if holds then
        schedule_at(lane, next_look(lane))
    else
        local due = lane.due > 0 and math.max(lane.due, lane.rest)
        schedule_at(lane, due and (lane.paused > now or lane.held == 1) and math.max(due, next_look(lane)) or due)
    end
end

-- Write the changed fields of every lane. Return the earliest moment that this run has scheduled, or nil.
local function save()
    local at, gone, first = {}, {}, nil
    for name, lane in pairs(opened) do
        local fields = {}
        for field in pairs(lane.changed) do
            local value = lane[field]
            fields[#fields + 1] = field
            fields[#fields + 1] = type(value) == 'string' and value or integer(value)
        end
        if #fields > 0 then
            begin_writing()
            redis.call('HSET', lane.pace_key, unpack(fields))
            -- Each call advances tat. It is enough to renew the day's TTL when tat enters another hour.
            if lane.is_new or math.floor(lane.tat / HOUR) ~= math.floor(lane.tat_before / HOUR) then
                redis.call('EXPIRE', lane.pace_key, PACE_TTL)
                redis.call('ZADD', RECENT, integer(now), name)
                redis.call('ZREMRANGEBYSCORE', RECENT, '-inf', integer(now - PACE_TTL * SECOND))
                redis.call('EXPIRE', RECENT, PACE_TTL)
            end
        end
        if lane.scheduled then
            at[#at + 1] = integer(lane.scheduled)
            at[#at + 1] = name
            if not first or lane.scheduled < first then first = lane.scheduled end
        elseif lane.scheduled == false then
            gone[#gone + 1] = name
        end
    end
    if #at + #gone > 0 then begin_writing() end
    if #gone > 0 then redis.call('ZREM', SCHEDULE, unpack(gone)) end
    if #at > 0 then redis.call('ZADD', SCHEDULE, unpack(at)) end
    return first
end
