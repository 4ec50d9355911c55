--! include lib/clock lib/lane lib/schedule lib/jobs lib/envelope lib/arrivals lib/announce lib/record lib/dead lib/writing
--! const WAKE SCHEDULE LEASED DEAD RESULT BOOK
--! args owner most:int lease:int book arrivals:flag full:flag lanes...
-- Give a worker jobs whose slots are near, a few of each lane that is due in turn. The slot, the lease and the owner are
-- written in the same step, so a job is in its lane or in a worker's hand, and never between them.
--
-- owner     whoever takes; new for each run
-- most      how many jobs at most
-- lease     µs after its slot within which a job must report
-- book      the hash of what the worker knows: <account> -> 1;  <lane>, else <operation>, else * ->
--           "<interval µs> <window>"
-- arrivals  look at the lanes that producers have put jobs into
-- full      the worker can hold no more than `most`; another is woken for what is left
-- lanes     of which jobs are taken that no worker can call, without slots; none: what is due
-- Returns  {µs until a lane is due, -1 where none is; now, jobs, ended, strangers, broken}
--          jobs       {lane, id, message, history, slot, µs that slots have moved}, …;  slot 0: the job has none
--          ended      {lane, id, message}, …: jobs of shutdowns that had ended before they were taken: their owner counts
--                     them, then reports that they can be dropped; they have leases until then
--          strangers  lanes of accounts that are not in the book, and that nobody has served for a while
--          broken     {lane, error}, …: lanes whose keys Redis fails over; they hold what they held
--          or 'no book'

local HORIZON = SECOND * 0.06       -- how far ahead of its slot a job is given to a worker, at most
local LONG_DUE = SECOND / 4         -- a stranger's lane that is due for so long stands in the way of others
local NEXT_LOOK = SECOND            -- when to look again at a lane whose keys Redis fails over
local MOST_LANES = 50               -- due lanes that one run goes through
local FEW = 4                       -- jobs of one lane in one run, where more lanes are due than jobs are asked for
local MOST_DROPPED = 100            -- messages that are none of a job to be called, in one run
local MOST_DUE = 50                 -- deferred jobs that wait again, in one run
local MOST_BYTES = 100000           -- of messages that one run reads; one that is not ASCII takes longer
local MOST_UNREADABLE = 1000        -- letters of messages without a job's id; so garbage drives no other letter out

local jobs, already_ended, strangers, broken = {}, {}, {}, {}
local leased = {}
local dropped, brought = 0, 0

-- Whether this run has done as much as it may; the next one goes on.
local function is_spent()
    return dropped >= MOST_DROPPED or brought >= MOST_DUE or read >= MOST_BYTES
end

-- Return the lane's next entry. `spent` notes the lists that are empty.
local function pop(lane, spent)
    local order = {1, 2, 3, 4}
    if lane.turn % 10 == 9 then     -- one job in ten is of a lower level, each in turn, so that none starves
        order = {4 - math.floor(lane.turn / 10) % 3, 4, 3, 2, 1}
    end
    for _, level in ipairs(order) do
        if not spent[level] then
            local entry = redis.call('RPOP', lane.waiting[level])
            if entry then
                lane.popped[#lane.popped + 1] = {level, entry}
                return entry
            end
            spent[level] = true
        end
    end
end

-- Let jobs wait again whose moment has come.
local function bring_due(lane)
    local again = redis.call('ZRANGEBYSCORE', lane.due_key, '-inf', integer(now), 'LIMIT', 0, MOST_DUE - brought)
    brought = brought + #again
    for i = #again, 1, -1 do        -- the last goes to the front first, so that the order stays
        local id = again[i]
        local held = redis.call('HMGET', lane.jobs, id, id .. ':tries')
        redis.call('ZREM', lane.due_key, id)
        redis.call('HDEL', lane.jobs, id, id .. ':tries')
        written = true
        if held[1] then put_back(lane, held[1], held[2] or '') end
    end
    local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')
    set(lane, 'due', tonumber(first[2]) or 0)
end

-- Keep a message that nobody can read; of these only the latest.
local function bury_unreadable(lane, message)
    local number = redis.call('INCR', DEAD .. ':count')
    bury(lane, 'unreadable-' .. integer(number), '', message, '')
    local oldest = 'unreadable-' .. integer(number - MOST_UNREADABLE)
    if redis.call('ZREM', DEAD, oldest) == 1 then redis.call('DEL', DEAD .. '.' .. oldest) end
end

-- Pop up to `count` jobs and add to `given` those that can be. Returns whether the lane may hold more. `seen` notes the
-- ids of those that are added.
local function pop_some(lane, count, given, seen)
    local spent, popped, keys, fields = {}, {}, {}, {}
    local more = true
    while #popped < count and dropped < MOST_DROPPED and read < MOST_BYTES do
        local entry = pop(lane, spent)
        if not entry then
            more = false
            break
        end
        written = true
        set(lane, 'turn', lane.turn + 1)
        local history, message = split(entry)
        local id = id_of(message)
        if id then
            popped[#popped + 1] = {id = id, message = message, history = history}
            keys[#keys + 1] = RESULT .. id
            fields[#fields + 1] = id
            fields[#fields + 1] = id .. ':tries'    -- of a job that the version before put back
        else
            bury_unreadable(lane, message)
            lane.popped[#lane.popped] = nil
            dropped = dropped + 1
        end
    end
    if #popped == 0 then return more end
    local records = redis.call('MGET', unpack(keys))       -- to MGET, a key of another type is none
    local held = redis.call('HMGET', lane.jobs, unpack(fields))
    for i, job in ipairs(popped) do
        local message, tries = held[i * 2 - 1], held[i * 2]
        job.ended = ended(records[i])
        if job.ended and tries and not message then redis.call('HDEL', lane.jobs, job.id .. ':tries') end
        local is_wanted = not job.ended or string.find(job.message, '\\"shutdown\\"', 1, true)
        if is_wanted and not message and not seen[job.id] then  -- else the same job waits twice, and the lane has it already
            seen[job.id] = true
            if job.history == '' then job.history = tries or '' end
            given[#given + 1] = job
        else
            dropped = dropped + 1
        end
    end
    return more
end

-- Pop up to `count` jobs that can be given. Returns them, and whether the lane may hold more.
local function candidates(lane, count)
    local given, seen, more = {}, {}, true
    while more and #given < count and dropped < MOST_DROPPED and read < MOST_BYTES do
        more = pop_some(lane, count - #given, given, seen)
    end
    return given, more
end

-- Give up to `share` jobs of a lane. `slots`: each with a slot of its own, near ones only.
local function serve(lane, share, slots)
    clamp(lane)
    if lane.due > 0 and lane.due <= now then bring_due(lane) end
    local in_flight = redis.call('ZCARD', lane.leases)
    local room = window_of(lane) - in_flight
    local slot, interval = next_slot(lane), interval_of(lane)
    if not slots then
        room, slot = share, 0       -- these are not called; and who waits behind others must be heard of in time too
    elseif slot > now + HORIZON then
        return reschedule(lane)
    else
        room = math.min(room, math.floor((now + HORIZON - slot) / interval) + 1)
    end
    if room <= 0 then return reschedule(lane) end
    local given, more = candidates(lane, math.min(room, share))
    if #given > 0 then
        local held, leases = {}, {}
        local first_end
        for _, job in ipairs(given) do
            local until_ = integer(math.max(slot, now) + lease)
            first_end = first_end or until_
            leases[#leases + 1] = until_
            leases[#leases + 1] = job.id
            held[#held + 1] = job.id
            held[#held + 1] = job.message
            held[#held + 1] = job.id .. ':owner'
            held[#held + 1] = owner
            if job.history ~= '' then
                held[#held + 1] = job.id .. ':tries'
                held[#held + 1] = job.history
            end
            if not job.ended and slots then
                job.slot = slot
                slot = slot + interval
            end
        end
        redis.call('ZADD', lane.leases, unpack(leases))
        redis.call('HSET', lane.jobs, unpack(held))
        -- Nothing fails from here on: the jobs are the worker's.
        lane.popped = {}
        if slots then set(lane, 'tat', slot) end
        leased[#leased + 1] = first_end
        leased[#leased + 1] = lane.name
        for _, job in ipairs(given) do
            local list = job.ended and already_ended or jobs
            list[#list + 1] = {lane.name, job.id, job.message, job.history, integer(job.slot or 0), integer(lane.moved)}
        end
    end
    if more and lane.busy == 1 and window_of(lane) > in_flight + #given then
        -- Whether a busy lane holds more shows at the next look; that costs less than to ask each time.
        set(lane, 'full', 0)
        schedule_at(lane, next_slot(lane) - LEAD)
    else
        reschedule(lane)
    end
end

-- Serve a lane. A key of another type, say, must not keep the other lanes from the worker, nor lose what was popped.
local function guarded(lane, share, slots)
    local leased_before = #leased
    lane.popped = {}
    local ok, failure = pcall(serve, lane, share, slots)
    if ok then return end
    for i = #lane.popped, 1, -1 do
        redis.pcall('RPUSH', lane.waiting[lane.popped[i][1]], lane.popped[i][2])
    end
    if #leased == leased_before then set(lane, 'turn', lane.turn + 1) end   -- another list may have its turn then
    schedule_at(lane, now + NEXT_LOOK)
    failure = type(failure) == 'table' and failure.err or failure
    broken[#broken + 1] = {lane.name, tostring(failure)}
end

-- Whether this worker has the lane's account. It then says what the lane's pace is.
local function is_known(lane)
    if lane.book == book then return true end
    local account, operation = string.match(lane.name, '^([^.]*)%.(.*)$')
    local said = redis.call('HMGET', BOOK .. book, account or '', lane.name, operation or '', '*')
    if not said[4] then return nil end
    if not said[1] then return false end
    local paces = '^(%d+) (%d+)$'
    local interval, window = string.match(said[2] or said[3] or said[4], paces)
    if not interval then interval, window = string.match(said[4], paces) end    -- an operation that is called as an account
    set(lane, 'interval', tonumber(interval))
    set(lane, 'places', tonumber(window))
    set(lane, 'book', book)
    return true
end

if #lanes > 0 then
    for _, name in ipairs(lanes) do
        local lane = open_lane(name)
        if lane.interval == 0 then
            set(lane, 'interval', SECOND)
            set(lane, 'places', 1)
        end
        if most > #jobs and not is_spent() then guarded(lane, most - #jobs, false) end
    end
else
    if arrivals then
        redis.call('DEL', WAKE)     -- of all that was announced; not every producer may keep it at one token
        schedule_arrivals()
    end
    local entries = redis.call('ZRANGE', SCHEDULE, 0, MOST_LANES, 'WITHSCORES')
    local due = 0
    while due * 2 < #entries and tonumber(entries[due * 2 + 2]) <= now do due = due + 1 end
    local is_cut, has_served = false, false
    for i = 1, math.min(due, MOST_LANES) do
        if #jobs >= most or is_spent() then
            is_cut = true
            break
        end
        local name = entries[i * 2 - 1]
        local opens, lane = pcall(open_lane, name)
        local known = opens and is_known(lane)
        if known == nil then
            if not has_served then return 'no book' end
            is_cut = true       -- what was taken so far must reach the worker; the next run says that there is no book
            break
        end
        if not opens then
            redis.call('ZADD', SCHEDULE, integer(now + NEXT_LOOK), name)
            broken[#broken + 1] = {name, tostring(type(lane) == 'table' and lane.err or lane)}
        elseif known then
            has_served = true
            local share = math.max(FEW, math.floor((most - #jobs) / (due - i + 1)))
            guarded(lane, math.min(share, most - #jobs), true)
        elseif tonumber(entries[i * 2]) < now - LONG_DUE then
            -- It goes behind the others, and stays due for a worker that has its account and is busy now.
            strangers[#strangers + 1] = lane.name
            redis.call('ZADD', SCHEDULE, integer(now), lane.name)
        end
    end
    local upcoming = tonumber(entries[due * 2 + 2])
    if is_cut then
        upcoming = now                      -- others are due too
    elseif due > MOST_LANES then
        upcoming = #jobs > 0 and now or now + LEAD      -- behind lanes of accounts that others have, perhaps
    end
    local first = save()
    if first and first < (upcoming or math.huge) then upcoming = first end
    if #leased > 0 then redis.call('ZADD', LEASED, 'LT', unpack(leased)) end
    if full and #jobs >= most and upcoming and upcoming <= now then wake() end
    local left = upcoming and integer(math.max(0, upcoming - now)) or '-1'
    return {left, integer(now), jobs, already_ended, strangers, broken}
end
save()
if #leased > 0 then redis.call('ZADD', LEASED, 'LT', unpack(leased)) end
return {'-1', integer(now), jobs, already_ended, strangers, broken}
