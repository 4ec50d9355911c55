-- What the scripts of a lane share. It stands before each of them; every moment is Redis' own, in µs.
--
-- KEYS[1..4]  waiting   lists of messages, by priority 0, 3, 6, 9; LPUSH at the back, RPOP at the front
-- KEYS[5]     leases    zset  job id -> moment at which an admitted job must have reported
-- KEYS[6]     jobs      hash  <id> -> message;  <id>:owner -> who claimed it;  <id>:tries -> its history
-- KEYS[7]     due       zset  job id -> moment at which a deferred job waits again
-- KEYS[8]     pace      hash  of the fields below
-- KEYS[9]     ready     list  the one queue that workers consume, and, as <ready>\6\0223, its next priority's
-- KEYS[10]    lanes     set   of the lanes that hold anything
-- KEYS[11]    dead      zset  id of a dead letter -> moment at which it was kept; <dead>.<id>: hash, the letter;
--                             <dead>:count: how many messages nobody could read
-- ARGV[1]     lane      the lane's name
-- ARGV[2]     interval  µs between two calls, headroom included
-- ARGV[3]     window    how many jobs may be admitted and unreported
-- ARGV[last]  'vendor' or 'account': whose word interval and window are
--
-- pace:  tat       the first free slot
--        gate      the moment for which the next admission is meant; it runs ahead of tat by what is not yet claimed
--        rest      until when the lane rests
--        span      µs that this rest takes, from its beginning
--        share     percent of the pace that a throttled lane is back at
--        faults    transient faults since the last answer that was none
--        throttles throttled calls since the last answer that was none, of those that made the lane rest
--        turn      admissions so far
--        moved     µs by which slots have moved on behind late calls, in all
--        interval, window   as the workers last had them, for producers that know only the vendor's limit

local waiting = {KEYS[1], KEYS[2], KEYS[3], KEYS[4]}
local leases, jobs, due, pace_key, ready, lanes, dead =
    KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local ready_later = ready .. '\6' .. '\22' .. '3'
local lane = ARGV[1]

local SECOND = 1000000
local ADMITTED_LEASE = 5 * SECOND   -- until the claim
local HORIZON = SECOND / 4          -- how far ahead of its slot a job is admitted
local PATIENCE = SECOND             -- the longest wait for a slot in a worker
local NEAR = SECOND / 50            -- a wait that is none: whose slot is nearer goes ahead of those that will wait
local LATE_COVERED = SECOND / 100   -- lateness of a call that the headroom covers, beside what nobody can see
local FAILING = 5                   -- transient faults in a row that make a lane rest
local MOST_DROPPED = 500            -- unreadable or repeated messages in one run; the sweep goes on
local PACE_TTL = 86400              -- s, from the lane's last call
local FARTHEST = 600 * SECOND       -- no moment that a lane notes is farther off; else the clock was set back since
local MOST_DEAD = 100000            -- dead letters; the oldest go before Redis is full of them
local LONGEST_MESSAGE = 65536       -- bytes; ours have a few thousand at most
local LONGEST_ID = 512              -- bytes
local LONGEST_KEPT = 4096           -- bytes of a message that a dead letter quotes
local MOST_UNREADABLE = 1000        -- letters of messages without a job's id; so garbage drives no other letter out

local time = redis.call('TIME')
local now = time[1] * SECOND + time[2]

local function integer(number)
    return string.format('%.0f', number)
end

local pace = {changed = {}}
do
    local names = {'tat', 'gate', 'rest', 'span', 'share', 'faults', 'throttles', 'turn', 'moved', 'interval', 'window'}
    local values = redis.call('HMGET', pace_key, unpack(names))
    for i, name in ipairs(names) do
        pace[name] = tonumber(values[i]) or 0
    end
    pace.is_new = pace.interval == 0
    if pace.share == 0 then pace.share = 100 end
end

local function set(name, value)
    if pace[name] ~= value then
        pace[name] = value
        pace.changed[#pace.changed + 1] = name
    end
end

local function save()
    local fields = {}
    for _, name in ipairs(pace.changed) do
        fields[#fields + 1] = name
        fields[#fields + 1] = integer(pace[name])
    end
    if #fields > 0 then
        redis.call('HSET', pace_key, unpack(fields))
        if pace.is_new then redis.call('EXPIRE', pace_key, PACE_TTL) end
    end
end

-- A worker that has the account says what the pace is. What only the vendor's page says counts until one has spoken.
if ARGV[#ARGV] ~= 'vendor' or pace.interval == 0 then
    set('interval', tonumber(ARGV[2]))
    set('window', tonumber(ARGV[3]))
end

local function interval()
    return pace.interval * 100 / pace.share
end

-- What was noted before the clock was set back would hold the lane up for as long.
for name, farthest in pairs({tat = PATIENCE + interval(), gate = PATIENCE + interval(), rest = pace.span}) do
    if pace[name] > now + farthest then set(name, now + farthest) end
end
if pace.rest <= now then set('rest', 0) end     -- nor may a rest that is over begin again

-- The moment that is `ahead` µs from now, or as far as a moment may be.
local function moment(ahead)
    return integer(now + math.min(ahead, FARTHEST))
end

local function decode(message)
    local ok, fields = pcall(cjson.decode, message)
    if ok and type(fields) == 'table' then
        return fields
    end
    return {}
end

-- Whether a text is UTF-8, as JSON has to be; what cjson does not ask.
local function is_utf8(text)
    if not string.find(text, '[\128-\255]') then return true end
    local tail = '[\128-\191]'
    for _, sequence in ipairs({'[\194-\223]' .. tail, '\224[\160-\191]' .. tail, '\237[\128-\159]' .. tail,
            '[\225-\236\238\239]' .. tail .. tail, '\240[\144-\191]' .. tail .. tail,
            '[\241-\243]' .. tail .. tail .. tail, '\244[\128-\143]' .. tail .. tail}) do
        text = string.gsub(text, sequence, ' ')
    end
    return not string.find(text, '[\128-\255]')
end

-- Whether kombu can make a message of it; what it cannot would end a worker.
local function is_deliverable(fields)
    local body, properties = fields.body, fields.properties
    if type(body) ~= 'string' or type(properties) ~= 'table' or type(properties.delivery_tag) ~= 'string' then
        return false
    end
    local encoding = properties.body_encoding
    return encoding == nil or encoding == cjson.null
        or encoding == 'base64' and #body % 4 == 0 and string.find(body, '^[%w+/]*=?=?$') ~= nil
end

-- Return the id of a message that a worker can read as far as its envelope goes.
local function id_of(message)
    if #message > LONGEST_MESSAGE or not is_utf8(message) then return end
    if string.find(message, '[%z\1-\8\11\12\14-\31]') then return end   -- cjson takes them, and Python does not
    local fields = decode(message)
    local headers = fields.headers
    if fields['content-type'] == 'application/json' and type(headers) == 'table' and is_deliverable(fields)
            and headers.task == 'streamstop.execute' and type(headers.id) == 'string'
            and #headers.id > 0 and #headers.id <= LONGEST_ID
            -- a body that kombu would inflate may have no end
            and (headers.compression == nil or headers.compression == cjson.null)
            -- nor may it read as what KEYS[6] keeps of another job
            and not string.find(headers.id, ':owner$') and not string.find(headers.id, ':tries$') then
        return headers.id
    end
end

-- Whether kombu gave the message back when its worker lost Redis: the job's lease does that already, and better.
local function is_given_back(message)
    local fields = decode(message)
    return fields.redelivered == true and type(fields.body) == 'table' and fields.body.__type__ == 'bytes'
end

-- Drop what the lane holds of a job that has reported.
local function forget(id)
    redis.call('ZREM', leases, id)
    redis.call('HDEL', jobs, id, id .. ':owner', id .. ':tries')
end

-- Keep what a person has to look at: a letter is JSON, or '' for a message that cannot be read; `message` is quoted.
local function bury(id, letter, message, room)
    local key = dead .. '.' .. id
    redis.call('ZADD', dead, integer(now), id)
    redis.call('HSET', key, 'lane', lane, 'letter', letter, 'message', string.sub(message, 1, LONGEST_KEPT), 'room', room)
    if redis.call('ZCARD', dead) > MOST_DEAD then
        redis.call('DEL', dead .. '.' .. redis.call('ZPOPMIN', dead)[1])
    end
end

-- Keep a message that nobody can read; of these only the latest.
local function bury_unreadable(message)
    local number = redis.call('INCR', dead .. ':count')
    bury('unreadable-' .. integer(number), '', message, '')
    local oldest = 'unreadable-' .. integer(number - MOST_UNREADABLE)
    if redis.call('ZREM', dead, oldest) == 1 then redis.call('DEL', dead .. '.' .. oldest) end
end

-- Give back the admission of a job that made no call.
local function refund()
    set('gate', math.max(pace.gate - interval(), pace.tat))
end

-- Return an admitted or deferred job to the front of its lane. Its history stays.
local function put_back(id, message)
    local properties = decode(message).properties
    local priority = type(properties) == 'table' and tonumber(properties.priority) or 0
    local level = math.max(1, math.min(4, math.floor(priority / 3) + 1))
    redis.call('RPUSH', waiting[level], message)
    redis.call('ZREM', leases, id)
    redis.call('HDEL', jobs, id, id .. ':owner')
end

local function next_waiting()
    local order = {1, 2, 3, 4}
    if pace.turn % 10 == 9 then     -- one admission in ten favours a lower level, each in turn, so that none starves
        order = {4 - math.floor(pace.turn / 10) % 3, 4, 3, 2, 1}
    end
    for _, level in ipairs(order) do
        local message = redis.call('RPOP', waiting[level])
        if message then return message end
    end
end

-- Move waiting jobs to the ready queue: as many as the window allows, and none long before its slot.
local function admit()
    if pace.rest > now then return 0 end
    local in_flight = redis.call('ZCARD', leases)
    local window = pace.faults >= FAILING and 1 or pace.window
    local admitted, dropped = 0, 0
    while in_flight < window and dropped < MOST_DROPPED do
        local slot = math.max(now, pace.gate, pace.tat)
        -- A lane with nothing in flight has nobody to admit its next job; so it may look further ahead.
        if slot - now > (in_flight == 0 and PATIENCE or HORIZON) then break end
        local message = next_waiting()
        if not message then break end
        local id = id_of(message)
        if not id then
            dropped = dropped + 1
            if not is_given_back(message) then bury_unreadable(message) end
        elseif redis.call('HSETNX', jobs, id, message) == 1 then
            redis.call('ZADD', leases, integer(now + ADMITTED_LEASE), id)
            redis.call('LPUSH', slot - now > NEAR and ready_later or ready, message)
            set('gate', slot + interval())
            set('turn', pace.turn + 1)
            in_flight = in_flight + 1
            admitted = admitted + 1
        else
            dropped = dropped + 1   -- the same job waits twice, and the lane has it already
        end
    end
    return admitted
end

-- A call left its worker late: the slots that are not given yet move on, by as much as the headroom does not cover and
-- they have not moved since the call was given its own, so that a whole second behind the call has no more than the limit.
local function make_up(late, moved_before)
    local needed = late - LATE_COVERED - math.max(0, pace.moved - moved_before)
    local tat = math.max(pace.tat, now)
    -- A second from now is a second behind any call that has left.
    local move = math.min(needed, now + SECOND - tat)
    if move > 0 then
        set('tat', tat + move)
        set('moved', pace.moved + move)
    end
end

-- Let the lane rest.
local function rest_for(span)
    set('rest', now + span)
    set('span', span)
end

-- Count a transient fault, and rest a lane that is failing. Returns the µs that it now rests for this fault.
local function count_fault()
    if pace.rest > now then return 0 end    -- what was in flight when the rest began says nothing new
    set('faults', pace.faults + 1)
    if pace.faults < FAILING then return 0 end
    local rest = math.min(60, 2 ^ (pace.faults - FAILING)) * SECOND
    rest_for(rest)
    return rest
end

-- Whether a job's record in Celery's result backend says that it has ended.
local function ended(record)
    return record and string.sub(record, 1, 18) ~= '{"status": "RETRY"'
end

local function record(key, value, ttl_s)
    redis.call('SET', key, value, 'EX', ttl_s)
    redis.call('PUBLISH', key, value)
end
