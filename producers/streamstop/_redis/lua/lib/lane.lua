--! include lib/clock lib/lane_keys
-- A lane's pace, and how many of its jobs may be in flight. The pace is kept by the generic cell rate algorithm (GCRA,
-- ITU-T I.371): `tat` is its theoretical arrival time. The hash streamstop.work.<lane>:pace holds:
--
-- tat       the moment of the first free slot
-- rest      the end of the lane's rest; 0: it does not rest
-- span      the whole length of this rest, µs
-- share     percent of the full pace; throttling lowers it
-- failed    transient faults in a row
-- throttles throttled calls in a row that made the lane rest
-- turn      jobs given so far
-- calls     calls for which slots were given so far, without the slots that made no call
-- throttled calls that the vendor throttled so far
-- moved     µs by which late calls have shifted later slots, in total
-- due       a moment no later than the first in :due; 0: no job is deferred
-- full      1: the window was full when a worker last looked, so the lane is not in the schedule
-- busy      1: the lane held jobs that it could not give yet when a worker last looked
-- interval  µs between two calls, headroom included
-- places    how many jobs may be in flight
-- book      the worker's book from which interval and places were read
-- controls  the version of the controls from which the next five were read: see lib/controls
-- paused    the end of the lane's pause; 0: it is not paused
-- limited   the end of the limit that a person has set for the lane; 0: there is none
-- held      1: the vendor refuses the account's key, so the lane gives one job a minute at most: see lib/holds
-- own_interval, own_places   interval and places under that limit
-- error_code, error_at   the newest answer that was no success, and its moment: lib/errors
-- told      the moment of the lane's last event about a throttled call
-- window, faults   earlier versions' names of places and failed. They are 0, so that producers of those versions, which
--                  give jobs to their own workers as they enqueue, take no job out of a lane

local PATIENCE = SECOND             -- no slot is given farther ahead, whatever the clock does
local FARTHEST = 600 * SECOND       -- no moment that is written is farther ahead, unless the clock was set back since
local FAILING = 5                   -- transient faults in a row that make a lane rest

local NUMBERS = {'tat', 'rest', 'span', 'share', 'failed', 'throttles', 'turn', 'moved', 'due', 'full', 'busy',
    'interval', 'places', 'calls', 'throttled', 'controls', 'paused', 'limited', 'held', 'own_interval', 'own_places'}

local opened = {}                   -- the lanes that this run has read, by name

local function set(lane, field, value)
    if lane[field] ~= value then
        lane[field] = value
        lane.changed[field] = true
    end
end

local function open_lane(name)
    local lane = opened[name]
    if lane then return lane end
    lane = keys_of(name)
    lane.changed = {}
    local values = redis.call('HMGET', lane.pace_key, 'book', unpack(NUMBERS))
    for i, field in ipairs(NUMBERS) do
        lane[field] = tonumber(values[i + 1]) or 0
    end
    lane.book = values[1] or ''
    lane.is_new = lane.interval == 0
    lane.tat_before = lane.tat
    if lane.share == 0 then lane.share = 100 end
    if lane.is_new then             -- the pace may have expired while the lane held jobs; the schedule needs these two
        local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')[2]
        if first then set(lane, 'due', tonumber(first)) end
        set(lane, 'full', 1)
    end
    opened[name] = lane
    return lane
end

local function interval_of(lane)
    return (lane.limited > now and lane.own_interval or lane.interval) * 100 / lane.share
end

-- Clamp moments that lie too far ahead: the clock was set back since they were written.
local function clamp(lane)
    local farthest = now + PATIENCE + interval_of(lane)
    if lane.tat > farthest then set(lane, 'tat', farthest) end
    if lane.rest > now + lane.span then set(lane, 'rest', now + lane.span) end
    if lane.rest <= now then set(lane, 'rest', 0) end       -- so that a rest that is over cannot begin again
    if lane.due > now + FARTHEST then
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', lane.due_key, integer(now + FARTHEST + 1), '+inf', 'LIMIT', 0, 500)) do
            redis.call('ZADD', lane.due_key, integer(now + FARTHEST), id)
        end
        set(lane, 'due', now + FARTHEST)
    end
end

-- Return the moment of the lane's next free slot.
local function next_slot(lane)
    return math.max(now, lane.tat, lane.rest)
end

-- Return how many jobs may be in flight. A failing lane makes one call at a time, as a probe. A lane whose pace no worker
-- has written yet has a window of 1: with 0 it would be full for ever.
local function window_of(lane)
    return lane.failed >= FAILING and 1 or math.max(1, lane.limited > now and lane.own_places or lane.places)
end
