--! include lib/clock lib/lane lib/schedule lib/jobs lib/record lib/dead lib/announce lib/shutdown lib/member_result lib/writing
--! args wake_another:flag reports...
-- Take down what became of jobs that a worker took. Each is judged by itself: one that is no longer its owner's changes
-- nothing.
--
-- wake_another  wake a worker for what waits again, for this one takes no more
-- reports       JSON objects, one a job:
--   kind    'end', 'retry', 'throttle', 'release', 'drop' or 'renew'
--   lane, id, owner
--   slot    as it was taken with; 0: none
--   call    what the last call says of the lane: 'well': the vendor answered;  'fault': a transient fault;  'none' was
--           made, and the slot is free again
--   late    µs after its slot at which the call left its worker
--   moved   µs, as it was taken with
--   end:      record and ttl (s) of Celery's result backend; member_result (see lib/member_result), or nothing;
--             next: {list, lane, message} of the job that follows, or nothing;
--             dead: {id, text, quote} of a letter, or nothing; quote: keep the message too
--   retry:    delay (µs), history (of attempts), record, ttl
--   throttle: hint (µs that the vendor asks for; 0: it did not say), history
--   release:  history, where it changed
--   drop:     nothing; the job had ended before it was taken
--   renew:    lease (µs from now)
-- Returns  {µs until a lane that can give jobs again is due, or -1; a number for each job}
--          -1: the job is no longer the owner's;  else the µs that its lane rests, for this job's sake

local LATE_COVERED = SECOND / 100   -- lateness of a call that the headroom covers, beside what nobody can see

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

-- A call left its worker late: the slots that are not given yet move on, by as much as the headroom does not cover and
-- they have not moved since the call was given its own, so that a whole second behind the call has no more than the
-- limit.
local function compensate_late_send(lane, job)
    if (job.late or 0) <= LATE_COVERED then return end
    local needed = job.late - LATE_COVERED - math.max(0, lane.moved - job.moved)
    local tat = math.max(lane.tat, now)
    -- A second from now is a second behind any call that has left.
    local move = math.min(needed, now + SECOND - tat)
    if move > 0 then
        set(lane, 'tat', tat + move)
        set(lane, 'moved', lane.moved + move)
    end
end

-- Count a transient fault, and rest a lane that is failing. Returns the µs that it now rests for this fault.
local function count_fault(lane)
    if lane.rest > now then return 0 end    -- what was in flight when the rest began says nothing new
    set(lane, 'failed', lane.failed + 1)
    if lane.failed < FAILING then return 0 end
    local rest = math.min(60, 2 ^ (lane.failed - FAILING)) * SECOND
    rest_for(lane, rest)
    return rest
end

-- Note what a job's last call says of its lane. Returns the µs that the lane rests for it.
local function judge_call(lane, job)
    local rest = 0
    if job.call == 'well' then
        set(lane, 'failed', 0)
        if lane.rest <= now then    -- what was in flight when the rest began does not speed the lane up again
            set(lane, 'throttles', 0)
            set(lane, 'share', math.min(100, lane.share + 5))
        end
    elseif job.call == 'fault' then
        rest = count_fault(lane)
    else
        refund(lane, job.slot)
    end
    compensate_late_send(lane, job)
    return rest
end

-- Let a throttled lane rest. Returns for how long from now.
local function rest_throttled(lane, hint)
    if lane.rest > now then     -- what was in flight when the rest began says nothing new, but for how long it asks
        if hint > lane.rest - now then rest_for(lane, math.min(hint, FARTHEST)) end
    else
        set(lane, 'throttles', lane.throttles + 1)
        set(lane, 'share', math.max(5, math.floor(lane.share / 2)))
        rest_for(lane, math.min(hint > 0 and hint or math.min(30, 2 ^ (lane.throttles - 1)) * SECOND, FARTHEST))
    end
    return lane.rest - now
end

local kinds = {}

kinds['end'] = function(lane, job)
    write_record(job.id, job.record, job.ttl)
    local member_result = job.member_result
    if job.dead then
        local room = member_result and redis.call('HGET', shutdown_key(member_result.shutdown), 'room')
        local message = job.dead.quote and redis.call('HGET', lane.jobs, job.id)
        bury(lane, job.dead.id, job.dead.text, message or '', room or '')
    end
    if member_result then record_member_result(member_result, lane.name) end
    local following = job['next']
    if following then
        redis.call('LPUSH', following.list, following.message)
        announce(following.lane)
    end
    forget(lane, job.id)    -- last: if Redis fails over a step above, the job's lease brings it back
    return judge_call(lane, job)
end

kinds['retry'] = function(lane, job)
    begin_writing()
    local due = now + math.min(job.delay, FARTHEST)
    redis.call('ZADD', lane.due_key, integer(due), job.id)  -- first: if Redis fails over it, the job keeps its lease
    redis.call('HDEL', lane.jobs, job.id .. ':owner')
    redis.call('HSET', lane.jobs, job.id .. ':tries', job.history)
    redis.call('ZREM', lane.leases, job.id)
    if lane.due == 0 or due < lane.due then set(lane, 'due', due) end
    write_record(job.id, job.record, job.ttl)
    local rest = judge_call(lane, job)
    lane.changes = true
    return rest
end

kinds['throttle'] = function(lane, job)
    local message = redis.call('HGET', lane.jobs, job.id)
    begin_writing()
    if message then put_back(lane, message, job.history) end
    forget(lane, job.id)
    local rest = rest_throttled(lane, job.hint)
    compensate_late_send(lane, job)
    lane.changes = true
    return rest
end

kinds['release'] = function(lane, job)
    local held = redis.call('HMGET', lane.jobs, job.id, job.id .. ':tries')
    begin_writing()
    if held[1] then put_back(lane, held[1], job.history or held[2] or '') end
    forget(lane, job.id)
    refund(lane, job.slot)
    lane.changes = true
    return 0
end

kinds['drop'] = function(lane, job)
    forget(lane, job.id)
    return 0
end

kinds['renew'] = function(lane, job)
    begin_writing()
    -- No lease is shortened: one that counts from a slot ahead may end later, and the index of leases relies on that.
    redis.call('ZADD', lane.leases, 'XX', 'GT', integer(now + job.lease), job.id)
    return 0
end

-- Take down one job's report. Returns the answer to it.
local function take_down(text)
    local job = cjson.decode(text)
    local lane = open_lane(job.lane)
    clamp(lane)
    if redis.call('HGET', lane.jobs, job.id .. ':owner') ~= job.owner then return '-1' end
    return integer(kinds[job.kind](lane, job))
end

local answers, failure = {}, nil
for i, text in ipairs(reports) do
    -- What Redis fails over, as a key of another type, must not keep from the schedule what other reports changed.
    local ok, answer = pcall(take_down, text)
    answers[i] = answer
    if not ok then failure = failure or answer end
end
local again = false
for _, lane in pairs(opened) do
    -- A lane that stands in the schedule is looked at in time. One that was full, or that jobs came back to, is noted anew.
    if lane.changes or lane.full == 1 then
        if not pcall(reschedule, lane) then schedule_at(lane, now + SECOND) end
        again = again or lane.scheduled
    end
end
local first = save()
if again and wake_another then wake() end
if failure then error(failure) end
return {first and integer(math.max(0, first - now)) or '-1', answers}
