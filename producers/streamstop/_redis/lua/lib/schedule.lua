--! include lib/clock lib/lane lib/writing
--! const SCHEDULE
-- When workers look at lanes, and writing what a run has changed of lanes.

local LEAD = SECOND * 0.03          -- how far ahead of the lane's next slot a worker should look at it again
local PACE_TTL = 86400              -- s, from the lane's last call, less an hour at most
local HOUR = 3600 * SECOND

-- Note when a worker should look at the lane again; false: not before something changes.
local function schedule_at(lane, at)
    lane.scheduled = at and math.max(at, now)   -- lanes that are due take turns: who was served goes behind
end

-- Look again when the lane can give a job, as things are now.
local function reschedule(lane)
    local holds = redis.call('EXISTS', lane.waiting[1], lane.waiting[2], lane.waiting[3], lane.waiting[4]) > 0
    -- How many that are shows when a worker has said so.
    if holds and lane.places > 0 and redis.call('ZCARD', lane.leases) >= window_of(lane) then
        set(lane, 'full', 1)
        schedule_at(lane, false)
        return
    end
    set(lane, 'full', 0)
    set(lane, 'busy', holds and 1 or 0)
    if holds then
        schedule_at(lane, next_slot(lane) - LEAD)
    else
        schedule_at(lane, lane.due > 0 and math.max(lane.due, lane.rest) or false)
    end
end

-- Write what has changed of every lane. Returns the earliest moment for which this run has scheduled one, or nil.
local function save()
    local at, gone, first = {}, {}, nil
    for name, lane in pairs(opened) do
        local fields = {}
        for field in pairs(lane.changed) do
            fields[#fields + 1] = field
            fields[#fields + 1] = field == 'book' and lane.book or integer(lane[field])
        end
        if #fields > 0 then
            begin_writing()
            redis.call('HSET', lane.pace_key, unpack(fields))
            -- Each call moves tat on, so that it passes into another hour: once an hour is enough to extend a day.
            if lane.is_new or math.floor(lane.tat / HOUR) ~= math.floor(lane.tat_before / HOUR) then
                redis.call('EXPIRE', lane.pace_key, PACE_TTL)
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
