--! include lib/lane_keys lib/cancel lib/member_result lib/writing
--! args name list first:int count:int ttl:int tomb jobs(entry id record shutdown member outcome)...
-- Cancel jobs of a lane that wait or are deferred. Messages near the front of a list leave it. Farther behind, each removal
-- would search through the list, so a message is replaced by `tomb`, and the caller removes many of these at once.
--
-- name          of the lane
-- list          in which the jobs wait; '': they are deferred
-- first, count  where the entries are: behind the `first` at the front of the list, among the next `count`;
--               first is 0: near the front
-- ttl           of the records, s
-- tomb          a message of a job that has ended: a worker that takes it drops it
-- jobs          entry: as it is in the list;  id, record: of the job;  shutdown, member, outcome: see lib/member_result,
--               or ''
-- Returns       {how many were cancelled, how many entries left the list, how many were replaced}
local REVOKED = '{"status": "REVOKED"'  -- as the record of a cancelled job begins
local lane = keys_of(name)
local cancelled, leaving = 0, {}

begin_writing()
for _, job in ipairs(jobs) do
    local member_result
    if job.shutdown ~= '' then
        member_result = {shutdown = job.shutdown, member = job.member, result = 'cancelled', outcome = job.outcome}
    end
    local answer, record = cancel_job(lane, job.id, job.record, ttl, member_result)
    if answer == 'cancelled' then cancelled = cancelled + 1 end
    -- A job that was cancelled by its id before is counted here, for no worker will take its message.
    if record and member_result and string.sub(record, 1, #REVOKED) == REVOKED then
        record_member_result(member_result, lane.name)
    end
    if answer ~= 'claimed' then leaving[job.entry] = true end
end
count_cancelled(lane, cancelled)

-- Messages leave last: if a step above fails in Redis, a worker that takes one finds its job ended.
if list == '' then return {cancelled, cancelled, 0} end
local removed, replaced = 0, 0
if first == 0 then
    for entry in pairs(leaving) do removed = removed + redis.call('LREM', list, -1, entry) end
else
    local entries = redis.call('LRANGE', list, -first - count, -first - 1)
    for at, entry in ipairs(entries) do
        if leaving[entry] then
            redis.call('LSET', list, at - #entries - first - 1, tomb)
            replaced = replaced + 1
        end
    end
end
return {cancelled, removed, replaced}
