--! include lib/clock lib/lane lib/schedule lib/jobs lib/record lib/dead lib/announce lib/shutdown lib/member_result lib/task_note lib/writing lib/errors lib/holds lib/answers
--! args wake_another:flag reports...
-- Apply the reports of a worker on the jobs that it took. Each report is applied by itself. A report of a worker that does
-- not own the job any more changes nothing.
--
-- wake_another  this worker takes no more jobs, so wake another one for jobs that wait again
-- reports       JSON objects, one for each job:
--   kind    'end', 'retry', 'throttle', 'release', 'drop' or 'renew'
--   lane, id, owner
--   slot    the job's slot, as `take` returned it; 0: none
--   call    the last call: 'well': the vendor answered;  'fault': a transient fault;  'none': no call was made, so the
--           slot is free again
--   late    how many µs after its slot the call left its worker
--   moved   µs that slots had been shifted, as `take` returned it
--   error   {code, message, request_id, unknown} of an answer that was no success, or nothing: see lib/errors
--   answered  {text, ttl} of the same answer, which is kept if the job goes on, or nothing: see lib/answers
--   end:      record, and its ttl (s); member_result (see lib/member_result), or nothing;
--             next: {list, lane, message} of the job that follows, or nothing;
--             if_held: the history with which the job waits again, if the vendor refused the key and this holds the account
--             dead: {id, text, quote} of a dead letter, or nothing; quote: keep the message too
--             note: {key, text} (see lib/task_note), or nothing
--             unique: the key of the job's unique command, or nothing
--   retry:    delay (µs), history (of attempts), record, ttl; note, or nothing
--   throttle: hint (µs that the vendor asks for; 0: it gave none), history
--   release:  history, if it changed
--   drop:     nothing; the job had ended before it was taken
--   renew:    lease (µs from now)
-- Returns  {µs until a lane that can give jobs again is due, or -1; a number for each job; accounts whose hold began; accounts
--          whose hold ended}
--          -1: the worker does not own the job any more;  -2: the job waits again, for the vendor refused the account's key;
--          else the µs for which this report lets the lane rest

local HELD = -2
local LATE_COVERED = SECOND / 100   -- delay of a call that the headroom covers; the rest covers delays in the network

-- Free the slot of a job that made no call, if no later slot is given yet.
local function refund(lane, slot)
    if slot > 0 then set(lane, 'calls', math.max(0, lane.calls - 1)) end
    if slot > 0 and math.abs(lane.tat - slot - interval_of(lane)) < 2 then
        set(lane, 'tat', slot)
        lane.changes = true     -- the next job need not wait for the slot behind it
    end
end

-- Let the lane rest for `span` µs.
local function rest_for(lane, span)
    set(lane, 'rest', now + span)
    set(lane, 'span', span)
end

-- Shift the slots that are not given yet if the call left its worker late, so that the second after the call holds no more
-- calls than the limit. The shift is the delay, less what the headroom covers, less what slots were shifted since the call
-- was given its own.
local function compensate_late_send(lane, job)
    if (job.late or 0) <= LATE_COVERED then return end
    local needed = job.late - LATE_COVERED - math.max(0, lane.moved - job.moved)
    local tat = math.max(lane.tat, now)
    -- No slot needs to move beyond a second from now: every call that has left is at least as old.
    local move = math.min(needed, now + SECOND - tat)
    if move > 0 then
        set(lane, 'tat', tat + move)
        set(lane, 'moved', lane.moved + move)
    end
end

-- Count a transient fault, and let a failing lane rest. Return the µs for which this fault lets it rest.
local function count_fault(lane, code)
    if lane.rest > now then return 0 end    -- the call was in flight when the rest began: it says nothing new
    set(lane, 'failed', lane.failed + 1)
    if lane.failed < FAILING then return 0 end
    local rest = math.min(60, 2 ^ (lane.failed - FAILING)) * SECOND
    rest_for(lane, rest)
    if lane.failed == FAILING then tell_failing(lane, rest, code) end
    return rest
end

-- Apply a job's last call to its lane. Return the µs for which it lets the lane rest.
local function judge_call(lane, job)
    local rest = 0
    if job.call == 'well' then
        if lane.failed >= FAILING then tell_recovery(lane) end
        set(lane, 'failed', 0)
        if lane.rest <= now then    -- a call that was in flight when the rest began does not raise the pace
            set(lane, 'throttles', 0)
            set(lane, 'share', math.min(100, lane.share + 5))
        end
    elseif job.call == 'fault' then
        rest = count_fault(lane, code_of(job))
    else
        refund(lane, job.slot)
    end
    compensate_late_send(lane, job)
    return rest
end

-- Let a throttled lane rest. Return for how many µs from now.
local function rest_throttled(lane, hint, code)
    set(lane, 'throttled', lane.throttled + 1)
    if lane.rest > now then     -- the call was in flight when the rest began: only a longer hint is new
        if hint > lane.rest - now then rest_for(lane, math.min(hint, FARTHEST)) end
    else
        set(lane, 'throttles', lane.throttles + 1)
        set(lane, 'share', math.max(5, math.floor(lane.share / 2)))
        rest_for(lane, math.min(hint > 0 and hint or math.min(30, 2 ^ (lane.throttles - 1)) * SECOND, FARTHEST))
        tell_rest(lane, lane.span, code)
    end
    return lane.rest - now
end

local kinds = {}

kinds['end'] = function(lane, job)
    local delay = job.if_held and count_refusal(lane, job)
    if delay then
        return_refused(lane, job, delay)
        judge_call(lane, job)
        return HELD
    end
    write_record(job.id, job.record, job.ttl)
    local member_result = job.member_result
    if job.dead then
        local room = member_result and redis.call('HGET', shutdown_key(member_result.shutdown), 'room')
        local message = job.dead.quote and redis.call('HGET', lane.jobs, job.id)
        keep_dead_letter(lane, job.dead.id, job.dead.text, message or '', room or '')
    end
    if member_result then record_member_result(member_result, lane.name) end
    local following = job['next']
    if following then
        redis.call('LPUSH', following.list, following.message)
        announce(following.lane)
    end
    if job.note then note_task(job.note, job.ttl) end
    -- A key of another type must not keep a job from ending.
    if job.unique and redis.pcall('HGET', job.unique, 'id') == job.id then redis.call('DEL', job.unique) end
    remove_job(lane, job.id)    -- last: if a step above fails in Redis, the job comes back when its lease ends
    return judge_call(lane, job)
end

kinds['retry'] = function(lane, job)
    begin_writing()
    local due = now + math.min(job.delay, FARTHEST)
    redis.call('ZADD', lane.due_key, integer(due), job.id)  -- first: if it fails in Redis, the job keeps its lease
    redis.call('HDEL', lane.jobs, job.id .. ':owner')
    redis.call('HSET', lane.jobs, job.id .. ':tries', job.history)
    redis.call('ZREM', lane.leases, job.id)
    if lane.due == 0 or due < lane.due then set(lane, 'due', due) end
    write_record(job.id, job.record, job.ttl)
    if job.note then note_task(job.note, job.ttl) end
    local rest = judge_call(lane, job)
    lane.changes = true
    return rest
end

kinds['throttle'] = function(lane, job)
    local message = redis.call('HGET', lane.jobs, job.id)
    begin_writing()
    if message then push_to_front(lane, message, job.history) end
    remove_job(lane, job.id)
    local rest = rest_throttled(lane, job.hint, code_of(job))
    compensate_late_send(lane, job)
    lane.changes = true
    return rest
end

kinds['release'] = function(lane, job)
    local message, history = unpack(redis.call('HMGET', lane.jobs, job.id, job.id .. ':tries'))
    begin_writing()
    if message then push_to_front(lane, message, job.history or history or '') end
    remove_job(lane, job.id)
    refund(lane, job.slot)
    lane.changes = true
    return 0
end

kinds['drop'] = function(lane, job)
    remove_job(lane, job.id)
    return 0
end

kinds['renew'] = function(lane, job)
    begin_writing()
    -- No lease is shortened. A lease that counts from a slot ahead may end later, and the index of leases relies on that.
    redis.call('ZADD', lane.leases, 'XX', 'GT', integer(now + job.lease), job.id)
    return 0
end

-- Apply one report. Return the number to answer.
local function apply_report(text)
    local job = cjson.decode(text)
    local lane = open_lane(job.lane)
    clamp(lane)
    if redis.call('HGET', lane.jobs, job.id .. ':owner') ~= job.owner then return '-1' end
    local answer = kinds[job.kind](lane, job)
    if job.error then count_error(lane, job.error) end
    if job.answered and (job.kind ~= 'end' or answer == HELD) then keep_answer(job.id, job.answered) end
    if job.call == 'well' and not job.if_held and (job.kind == 'end' or not job.error) then note_good_key(lane, job) end
    return integer(answer)
end

local answers, failure = {}, nil
for i, text in ipairs(reports) do
    -- A report that fails in Redis, as at a key of another type, does not stop the others from being saved below.
    local ok, answer = pcall(apply_report, text)
    answers[i] = answer
    if not ok then failure = failure or answer end
end
local again = false
for _, lane in pairs(opened) do
    -- A lane in the schedule is looked at in time. A lane that was full, or to which jobs came back, is scheduled anew.
    if lane.changes or lane.full == 1 then
        if not pcall(reschedule, lane) then schedule_at(lane, now + SECOND) end
        again = again or lane.scheduled
    end
end
local first = save()
if again and wake_another then wake() end
if failure then error(failure) end
return {first and integer(math.max(0, first - now)) or '-1', answers, held, released}
