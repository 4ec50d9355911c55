--! include lib/clock lib/lane_keys
-- A lane's pace, and how many of its jobs may be in flight. The hash streamstop.work.<lane>:pace holds:
--
-- tat       the first free slot: the theoretical arrival time of the generic cell rate algorithm (GCRA)
-- rest      until when the lane rests
-- span      µs that this rest takes, from its beginning
-- share     percent of the pace that a throttled lane is back at
-- failed    transient faults since the last answer that was none
-- throttles throttled calls since the last answer that was none, of those that made the lane rest
-- turn      jobs given so far
-- moved     µs by which slots have moved on behind late calls, in all
-- due       no later than the first moment in :due; 0: nothing is
-- full      1: the window was full when a worker last looked, so the lane is not in the schedule
-- busy      1: the lane held more jobs than it had given when a worker last asked
-- interval  µs between two calls, headroom included
-- places    how many jobs may be in flight
-- book      which book of a worker interval and places are from
-- window, faults   what failed and places were to the version before: 0, so that its producers, which give jobs to
--                  its workers as they enqueue, take none out of a lane

local PATIENCE = SECOND             -- no slot is given farther ahead than this, whatever the clock does
local FARTHEST = 600 * SECOND       -- no moment that a lane notes is farther off; else the clock was set back since
local FAILING = 5                   -- transient faults in a row that make a lane rest

local NUMBERS = {'tat', 'rest', 'span', 'share', 'failed', 'throttles', 'turn', 'moved', 'due', 'full', 'busy',
    'interval', 'places'}

local opened = {}                   -- the lanes that this run has looked at, by name

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
    if lane.is_new then             -- its pace may have expired while it held jobs, and the schedule relies on these two
        local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')[2]
        if first then set(lane, 'due', tonumber(first)) end
        set(lane, 'full', 1)
    end
    opened[name] = lane
    return lane
end

local function interval_of(lane)
    return lane.interval * 100 / lane.share
end

-- Clamp moments that lie too far ahead: the clock was set back since they were noted.
local function clamp(lane)
    local farthest = now + PATIENCE + interval_of(lane)
    if lane.tat > farthest then set(lane, 'tat', farthest) end
    if lane.rest > now + lane.span then set(lane, 'rest', now + lane.span) end
    if lane.rest <= now then set(lane, 'rest', 0) end       -- nor may a rest that is over begin again
    if lane.due > now + FARTHEST then
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', lane.due_key, integer(now + FARTHEST + 1), '+inf', 'LIMIT', 0, 500)) do
            redis.call('ZADD', lane.due_key, integer(now + FARTHEST), id)
        end
        set(lane, 'due', now + FARTHEST)
    end
end

-- The moment of the lane's next free slot.
local function next_slot(lane)
    return math.max(now, lane.tat, lane.rest)
end

-- How many jobs may be in flight. A failing lane makes one call at a time: the probe. A lane that no worker has told the
-- pace has a window too: with none it would be full for ever.
local function window_of(lane)
    return lane.failed >= FAILING and 1 or math.max(1, lane.places)
end
