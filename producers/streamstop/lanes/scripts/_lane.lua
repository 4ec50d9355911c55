-- What the scripts of lanes share. It stands before each of them. Every moment is Redis' own, in µs since the epoch.
--
-- A script may work on many lanes, so it makes the names of their keys itself:
--
-- streamstop.lane.<lane>              list   messages that wait with priority 0; with \6\22<n> after it, with 3, 6, 9.
--                                            LPUSH at the back, RPOP at the front. What a worker put back stands behind
--                                            its history: \1<history>\n<message>
-- streamstop.work.<lane>:leases       zset   job id -> moment at which a job in flight must have reported
-- streamstop.work.<lane>:jobs         hash   <id> -> message;  <id>:owner -> who took it;  <id>:tries -> its history.
--                                            Of jobs in flight, and (without an owner) of those that are due later
-- streamstop.work.<lane>:due          zset   job id -> moment at which a job that is to be tried again waits again
-- streamstop.work.<lane>:pace         hash   of the fields below
-- streamstop.schedule                 zset   lane -> the earliest moment at which it could give a job
-- streamstop.arrivals                 set    lanes that producers have put jobs into since a worker last looked
-- streamstop.wake                     list   at most one token, for one idle worker
-- streamstop.work.leased              zset   lane -> a moment no later than the end of its first lease
-- streamstop.work.swept               int    moment of the last sweep
-- streamstop.dead                     zset   id of a dead letter -> moment at which it was kept
-- streamstop.dead.<id>                hash   the letter
-- streamstop.dead:count               int    how many messages nobody could read
--
-- pace:  tat       the first free slot: the theoretical arrival time of the generic cell rate algorithm (GCRA)
--        rest      until when the lane rests
--        span      µs that this rest takes, from its beginning
--        share     percent of the pace that a throttled lane is back at
--        failed    transient faults since the last answer that was none
--        throttles throttled calls since the last answer that was none, of those that made the lane rest
--        turn      jobs given so far
--        moved     µs by which slots have moved on behind late calls, in all
--        due       no later than the first moment in :due; 0: nothing is
--        full      1: the window was full when a worker last looked, so the lane is not in the schedule
--        busy      1: the lane held more jobs than it had given when a worker last asked
--        interval  µs between two calls, headroom included
--        places    how many jobs may be in flight
--        book      which book of a worker interval and places are from
--        window, faults   what failed and places were to the version before: 0, so that its producers, which give jobs to
--                         its workers as they enqueue, take none out of a lane

local SCHEDULE, ARRIVALS, WAKE = 'streamstop.schedule', 'streamstop.arrivals', 'streamstop.wake'
local LEASED, DEAD = 'streamstop.work.leased', 'streamstop.dead'

local SECOND = 1000000
local HORIZON = SECOND * 0.06       -- how far ahead of its slot a job is given to a worker, at most
local LEAD = SECOND * 0.03          -- how far ahead of the lane's next slot a worker should look at it again
local AHEAD = SECOND / 10           -- how far a lane that had nothing goes ahead of those with a backlog
local SOON = SECOND / 10            -- when a lane is looked at again, at the latest, that something was put into
local MOST_ARRIVALS = 250          -- in one run
local PATIENCE = SECOND             -- no slot is given farther ahead than this, whatever the clock does
local LATE_COVERED = SECOND / 100   -- lateness of a call that the headroom covers, beside what nobody can see
local FAILING = 5                   -- transient faults in a row that make a lane rest
local PACE_TTL = 86400              -- s, from the lane's last call, less an hour at most
local HOUR = 3600 * SECOND
local FARTHEST = 600 * SECOND       -- no moment that a lane notes is farther off; else the clock was set back since
local MOST_DEAD = 100000            -- dead letters; the oldest go before Redis is full of them
local LONGEST_MESSAGE = 65536       -- bytes; ours have a few thousand at most
local LONGEST_ID = 512              -- bytes
local LONGEST_HISTORY = 100         -- bytes
local LONGEST_KEPT = 4096           -- bytes of a message that a dead letter quotes
local MOST_UNREADABLE = 1000        -- letters of messages without a job's id; so garbage drives no other letter out

local time = redis.call('TIME')
local now = time[1] * SECOND + time[2]

local function integer(number)
    return string.format('%.0f', number)
end

local NUMBERS = {'tat', 'rest', 'span', 'share', 'failed', 'throttles', 'turn', 'moved', 'due', 'full', 'busy',
    'interval', 'places'}

local opened = {}                   -- the lanes that this run has looked at, by name
local written = false               -- whether this run has changed anything

-- Over its memory limit Redis forbids a script whatever could need more memory, unless the script has changed something
-- before. What is accepted already must go on; so a script that serves it begins with a change that needs none.
local function begin_writing()
    if not written then redis.call('DEL', 'streamstop.work.none') end
    written = true
end

local function set(lane, field, value)
    if lane[field] ~= value then
        lane[field] = value
        lane.changed[field] = true
    end
end

local function open_lane(name)
    local lane = opened[name]
    if lane then return lane end
    local queue, work = 'streamstop.lane.' .. name, 'streamstop.work.' .. name
    lane = {
        name = name,
        waiting = {queue, queue .. '\6\0223', queue .. '\6\0226', queue .. '\6\0229'},
        leases = work .. ':leases', jobs = work .. ':jobs', due_key = work .. ':due', pace_key = work .. ':pace',
        changed = {},
    }
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

-- Have lanes looked at that something was put into: those that stand in no schedule at `at`; others in a moment, for they
-- may stand there for a job that is due much later. One with a backlog is due by then as it is, and is not looked at twice.
local function expect(names, at)
    if #names == 0 then return end
    local new, known = {}, {}
    for i, name in ipairs(names) do
        new[i * 2 - 1], new[i * 2] = integer(at), name
        known[i * 2 - 1], known[i * 2] = integer(now + SOON), name
    end
    redis.call('ZADD', SCHEDULE, 'NX', unpack(new))
    redis.call('ZADD', SCHEDULE, 'XX', 'LT', unpack(known))
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

local function wake()
    redis.call('LPUSH', WAKE, 1)
    redis.call('LTRIM', WAKE, 0, 0)
end

local function decode(message)
    local ok, fields = pcall(cjson.decode, message)
    if ok and type(fields) == 'table' then
        return fields
    end
    return {}
end

-- Return the history and the message of what waits in a list. An entry whose history is none is a message that nobody
-- can read: a producer could have written it.
local function split(entry)
    if string.sub(entry, 1, 1) ~= '\1' then return '', entry end
    local history, message = string.match(entry, '^\1([%d ]*)\n(.*)$')
    if not history or #history > LONGEST_HISTORY then return '', entry end
    return history, message
end

-- Return a job to the front of its lane. Whoever calls it drops what else the lane holds of the job.
local function put_back(lane, message, history)
    local properties = decode(message).properties
    local priority = type(properties) == 'table' and tonumber(properties.priority) or 0
    local level = math.max(1, math.min(4, math.floor(priority / 3) + 1))
    redis.call('RPUSH', lane.waiting[level], history == '' and message or '\1' .. history .. '\n' .. message)
end

-- Drop what the lane holds of a job in flight, or of one that is due later.
local function forget(lane, id)
    written = true
    redis.call('ZREM', lane.leases, id)
    redis.call('HDEL', lane.jobs, id, id .. ':owner', id .. ':tries')
end

-- Keep what a person has to look at: a letter is JSON, or '' for a message that cannot be read; `message` is quoted.
local function bury(lane, id, letter, message, room)
    local key = DEAD .. '.' .. id
    redis.call('ZADD', DEAD, integer(now), id)
    redis.call('HSET', key, 'lane', lane.name, 'letter', letter, 'message', string.sub(message, 1, LONGEST_KEPT),
        'room', room)
    if redis.call('ZCARD', DEAD) > MOST_DEAD then
        redis.call('DEL', DEAD .. '.' .. redis.call('ZPOPMIN', DEAD)[1])
    end
end

-- Keep a message that nobody can read; of these only the latest.
local function bury_unreadable(lane, message)
    local number = redis.call('INCR', DEAD .. ':count')
    bury(lane, 'unreadable-' .. integer(number), '', message, '')
    local oldest = 'unreadable-' .. integer(number - MOST_UNREADABLE)
    if redis.call('ZREM', DEAD, oldest) == 1 then redis.call('DEL', DEAD .. '.' .. oldest) end
end

-- Take back the slot of a job that made no call, if no later slot is given yet.
local function refund(lane, slot)
    if slot > 0 and math.abs(lane.tat - slot - interval_of(lane)) < 2 then
        set(lane, 'tat', slot)
        lane.changes = true     -- the next job need not wait for the slot behind it
    end
end

-- Let the lane rest.
local function rest_for(lane, span)
    set(lane, 'rest', now + span)
    set(lane, 'span', span)
end

-- Whether a job's record in Celery's result backend says that it has ended.
local function ended(record)
    return record and string.sub(record, 1, 18) ~= '{"status": "RETRY"'
end

-- Record in Celery's result backend what became of a job.
local function record(id, value, ttl_s)
    local key = 'celery-task-meta-' .. id
    local reply = redis.pcall('SET', key, value, 'EX', ttl_s)
    if reply.err then       -- most scripts that end jobs are spared the command that this costs
        begin_writing()
        redis.call('SET', key, value, 'EX', ttl_s)
    end
    written = true
    redis.call('PUBLISH', key, value)
end
