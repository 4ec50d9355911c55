--! include lib/clock lib/lane lib/schedule lib/jobs lib/envelope lib/arrivals lib/announce lib/record lib/dead lib/writing lib/controls lib/probes
--! const WAKE SCHEDULE LEASED DEAD RESULT BOOK
--! args owner most:int lease:int book arrivals:flag full:flag lanes...
-- Give a worker jobs whose slots are near: a few of each due lane in turn. The slot, the lease and the owner are written in
-- the same step, so a job is always either in its lane or leased to a worker.
--
-- owner     the token of this run: a report must name it
-- most      how many jobs at most
-- lease     µs after its slot at which a job's lease ends
-- book      digest of the worker's book, a hash: <account> -> its vendor;  <lane>, else <operation>, else * ->
--           "<interval µs> <window>"
-- arrivals  look at the lanes that producers have announced, too
-- full      the worker can hold no more than `most`, so wake another one for the jobs that are left
-- lanes     lanes that no worker can call: take their jobs without slots; none given: take from the lanes that are due
-- Returns  {µs until a lane is due, or -1; now, jobs, ended, unserved, broken}
--          jobs       {lane, id, message, history, slot, µs that slots have been shifted}, …;  slot 0: the job has none
--          ended      {lane, id, message}, …: jobs of shutdowns that had ended before they were taken. Their owner counts
--                     them, and then reports that they can be dropped. They have leases until then
--          unserved   lanes of accounts that are not in the book, and that no worker has served for a while
--          broken     {lane, error}, …: lanes with a key that fails in Redis; they keep their jobs
--          or 'no book'

local HORIZON = SECOND * 0.06       -- how far ahead of its slot a job is given to a worker, at most
local LONG_DUE = SECOND / 4         -- a lane that has been due for so long is unserved, and delays the lanes behind it
local NEXT_LOOK = SECOND            -- when to look again at a broken lane
local MOST_LANES = 50               -- due lanes that one run goes through
local FEW = 4                       -- jobs of one lane in one run, where more lanes are due than jobs are asked for
local MOST_DROPPED = 100            -- messages that are dropped in one run, for they are no job to be called
local MOST_DUE = 50                 -- deferred jobs that are returned to their lanes in one run
local MOST_BYTES = 100000           -- of messages that one run reads; a byte of one that is not ASCII counts more
local MOST_UNREADABLE = 1000        -- dead letters of unreadable messages, so that garbage displaces no other dead letter

local jobs, already_ended, unserved, broken = {}, {}, {}, {}
local leased = {}
local version                       -- of the controls
local dropped, returned = 0, 0

-- Return whether this run has reached one of its limits. The next run goes on.
local function is_at_limit()
    return dropped >= MOST_DROPPED or returned >= MOST_DUE or bytes_read >= MOST_BYTES
end

-- Pop the lane's next entry. `is_empty` records which lists are empty.
local function pop(lane, is_empty)
    local order = {1, 2, 3, 4}
    if lane.turn % 10 == 9 then     -- one job in ten is of a lower priority, each in turn, so that no priority starves
        order = {4 - math.floor(lane.turn / 10) % 3, 4, 3, 2, 1}
    end
    for _, level in ipairs(order) do
        if not is_empty[level] then
            local entry = redis.call('RPOP', lane.waiting[level])
            if entry then
                lane.popped[#lane.popped + 1] = {level, entry}
                return entry
            end
            is_empty[level] = true
        end
    end
end

-- Return deferred jobs whose moment has come to the front of their lane.
local function return_due_jobs(lane)
    local again = redis.call('ZRANGEBYSCORE', lane.due_key, '-inf', integer(now), 'LIMIT', 0, MOST_DUE - returned)
    returned = returned + #again
    for i = #again, 1, -1 do        -- the last is pushed first, so that the order stays
        local id = again[i]
        local message, history = unpack(redis.call('HMGET', lane.jobs, id, id .. ':tries'))
        redis.call('ZREM', lane.due_key, id)
        redis.call('HDEL', lane.jobs, id, id .. ':tries')
        has_written = true
        if message then push_to_front(lane, message, history or '') end
    end
    local first = redis.call('ZRANGE', lane.due_key, 0, 0, 'WITHSCORES')
    set(lane, 'due', tonumber(first[2]) or 0)
end

-- Keep an unreadable message as a dead letter. Only the latest MOST_UNREADABLE are kept.
local function keep_unreadable(lane, message)
    local number = redis.call('INCR', DEAD .. ':count')
    keep_dead_letter(lane, 'unreadable-' .. integer(number), '', message, '')
    local oldest = 'unreadable-' .. integer(number - MOST_UNREADABLE)
    remove_letter(oldest)
end

-- Pop up to `count` entries, and add to `selected` the jobs that can be given. Return whether the lane may hold more.
-- `is_selected` records the ids of the jobs that were added.
local function pop_jobs(lane, count, selected, is_selected)
    local is_empty, popped, keys, fields = {}, {}, {}, {}
    local more = true
    while #popped < count and dropped < MOST_DROPPED and bytes_read < MOST_BYTES do
        local entry = pop(lane, is_empty)
        if not entry then
            more = false
            break
        end
        has_written = true
        set(lane, 'turn', lane.turn + 1)
        local history, message = split_entry(entry)
        local id = job_id_of(message)
        if id then
            popped[#popped + 1] = {id = id, message = message, history = history}
            keys[#keys + 1] = RESULT .. id
            fields[#fields + 1] = id
            fields[#fields + 1] = id .. ':tries'    -- set without a message by an earlier version, for a job that it returned
        else
            keep_unreadable(lane, message)
            lane.popped[#lane.popped] = nil
            dropped = dropped + 1
        end
    end
    if #popped == 0 then return more end
    local records = redis.call('MGET', unpack(keys))       -- MGET treats a key of another type as absent
    local stored = redis.call('HMGET', lane.jobs, unpack(fields))
    for i, job in ipairs(popped) do
        local message, history = stored[i * 2 - 1], stored[i * 2]
        job.ended = has_ended(records[i])
        if job.ended and history and not message then redis.call('HDEL', lane.jobs, job.id .. ':tries') end
        local is_wanted = not job.ended or string.find(job.message, '\\"shutdown\\"', 1, true)
        if is_wanted and not message and not is_selected[job.id] then   -- with a message, the lane has this job already
            is_selected[job.id] = true
            if job.history == '' then job.history = history or '' end
            selected[#selected + 1] = job
        else
            dropped = dropped + 1
        end
    end
    return more
end

-- Pop up to `count` jobs that can be given. Return them, and whether the lane may hold more.
local function select_jobs(lane, count)
    local selected, is_selected, more = {}, {}, true
    while more and #selected < count and dropped < MOST_DROPPED and bytes_read < MOST_BYTES do
        more = pop_jobs(lane, count - #selected, selected, is_selected)
    end
    return selected, more
end

-- Give up to `share` jobs of a lane. With `slots`, each job gets a slot of its own, no farther ahead than HORIZON.
local function serve_lane(lane, share, slots)
    if slots then read_controls(lane, version, book) end
    clamp(lane)
    if slots and lane.paused > now then return reschedule(lane) end
    if lane.due > 0 and lane.due <= now then return_due_jobs(lane) end
    local in_flight = redis.call('ZCARD', lane.leases)
    local room = window_of(lane) - in_flight
    local slot, interval = next_slot(lane), interval_of(lane)
    if not slots then
        room, slot = share, 0       -- these jobs are not called, so no limit on jobs in flight may keep them waiting
    elseif slot > now + HORIZON then
        return reschedule(lane)
    else
        room = math.min(room, math.floor((now + HORIZON - slot) / interval) + 1)
    end
    if slots and lane.held == 1 then room = is_probe_due(lane) and math.min(room, 1) or 0 end
    if room <= 0 then return reschedule(lane) end
    local selected, more = select_jobs(lane, math.min(room, share))
    if #selected > 0 then
        local fields, leases, first_slot, calls = {}, {}, slot, lane.calls
        local first_end
        for _, job in ipairs(selected) do
            local lease_end = integer(math.max(slot, now) + lease)
            first_end = first_end or lease_end
            leases[#leases + 1] = lease_end
            leases[#leases + 1] = job.id
            fields[#fields + 1] = job.id
            fields[#fields + 1] = job.message
            fields[#fields + 1] = job.id .. ':owner'
            fields[#fields + 1] = owner
            if job.history ~= '' then
                fields[#fields + 1] = job.id .. ':tries'
                fields[#fields + 1] = job.history
            end
            if not job.ended and slots then
                job.slot = slot
                slot = slot + interval
                calls = calls + 1
            end
        end
        redis.call('ZADD', lane.leases, unpack(leases))
        redis.call('HSET', lane.jobs, unpack(fields))
        -- From here on nothing can fail. The jobs are leased, so serve_guarded() must not push their entries back.
        lane.popped = {}
        if slots then
            if lane.held == 1 and slot > first_slot then note_probe(lane) end
            set(lane, 'tat', slot)
            set(lane, 'calls', calls)
        end
        leased[#leased + 1] = first_end
        leased[#leased + 1] = lane.name
        for _, job in ipairs(selected) do
            local list = job.ended and already_ended or jobs
            list[#list + 1] = {lane.name, job.id, job.message, job.history, integer(job.slot or 0), integer(lane.moved)}
        end
    end
    if more and lane.busy == 1 and window_of(lane) > in_flight + #selected then
        -- A busy lane is scheduled without a check that it holds more: the next look shows it, and costs less.
        set(lane, 'full', 0)
        schedule_at(lane, next_look(lane))
    else
        reschedule(lane)
    end
end

-- Serve a lane, and catch an error, as of a key of another type. Popped entries are pushed back, and other lanes are served.
local function serve_guarded(lane, share, slots)
    local leased_before = #leased
    lane.popped = {}
    local ok, failure = pcall(serve_lane, lane, share, slots)
    if ok then return end
    for i = #lane.popped, 1, -1 do
        redis.pcall('RPUSH', lane.waiting[lane.popped[i][1]], lane.popped[i][2])
    end
    if #leased == leased_before then set(lane, 'turn', lane.turn + 1) end   -- so that another list has its turn next
    schedule_at(lane, now + NEXT_LOOK)
    failure = type(failure) == 'table' and failure.err or failure
    broken[#broken + 1] = {lane.name, tostring(failure)}
end

-- Read the lane's pace from the worker's book. Return whether the worker has the lane's account, nil if the book is missing.
local function read_book(lane)
    if lane.book == book then return true end
    local account, operation = string.match(lane.name, '^([^.]*)%.(.*)$')
    local entries = redis.call('HMGET', BOOK .. book, account or '', lane.name, operation or '', '*')
    if not entries[4] then return nil end
    if not entries[1] then return false end
    local paces = '^(%d+) (%d+)$'
    local interval, window = string.match(entries[2] or entries[3] or entries[4], paces)
    if not interval then interval, window = string.match(entries[4], paces) end     -- an account has the operation's name
    set(lane, 'interval', tonumber(interval))
    set(lane, 'places', tonumber(window))
    set(lane, 'book', book)
    return true
end

if #lanes > 0 then
    for _, name in ipairs(lanes) do
        local opens, lane = pcall(open_lane, name)
        if not opens then
            broken[#broken + 1] = {name, tostring(type(lane) == 'table' and lane.err or lane)}
        else
            if lane.interval == 0 then
                set(lane, 'interval', SECOND)
                set(lane, 'places', 1)
            end
            if most > #jobs and not is_at_limit() then serve_guarded(lane, most - #jobs, false) end
        end
    end
else
    if arrivals then
        redis.call('DEL', WAKE)     -- all tokens: Redis forbids some producers to trim it to one
        schedule_arrivals()
    end
    local entries = redis.call('ZRANGE', SCHEDULE, 0, MOST_LANES, 'WITHSCORES')
    local due = 0
    while due * 2 < #entries and tonumber(entries[due * 2 + 2]) <= now do due = due + 1 end
    if due > 0 then version = controls_version() end
    local is_cut, has_served = false, false
    for i = 1, math.min(due, MOST_LANES) do
        if #jobs >= most or is_at_limit() then
            is_cut = true
            break
        end
        local name = entries[i * 2 - 1]
        local opens, lane = pcall(open_lane, name)
        local known = opens and read_book(lane)
        if known == nil then
            if not has_served then return 'no book' end
            is_cut = true       -- the jobs taken so far must reach the worker; the next run returns 'no book'
            break
        end
        if not opens then
            redis.call('ZADD', SCHEDULE, integer(now + NEXT_LOOK), name)
            broken[#broken + 1] = {name, tostring(type(lane) == 'table' and lane.err or lane)}
        elseif known then
            has_served = true
            local share = math.max(FEW, math.floor((most - #jobs) / (due - i + 1)))
            serve_guarded(lane, math.min(share, most - #jobs), true)
        elseif tonumber(entries[i * 2]) < now - LONG_DUE then
            -- The lane goes behind the others, and stays due for a worker that has its account and is busy now.
            unserved[#unserved + 1] = lane.name
            redis.call('ZADD', SCHEDULE, integer(now), lane.name)
        end
    end
    local upcoming = tonumber(entries[due * 2 + 2])
    if is_cut then
        upcoming = now                      -- other lanes are due too
    elseif due > MOST_LANES then
        upcoming = #jobs > 0 and now or now + LEAD      -- these may all be lanes of other workers' accounts
    end
    local first = save()
    if first and first < (upcoming or math.huge) then upcoming = first end
    if #leased > 0 then redis.call('ZADD', LEASED, 'LT', unpack(leased)) end
    if full and #jobs >= most and upcoming and upcoming <= now then wake() end
    local left = upcoming and integer(math.max(0, upcoming - now)) or '-1'
    return {left, integer(now), jobs, already_ended, unserved, broken}
end
save()
if #leased > 0 then redis.call('ZADD', LEASED, 'LT', unpack(leased)) end
return {'-1', integer(now), jobs, already_ended, unserved, broken}
