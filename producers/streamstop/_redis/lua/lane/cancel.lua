--! include lib/lane_keys lib/announce lib/jobs lib/record lib/member_result
--! const RESULT
--! args name id record ttl:int member_results(shutdown member result outcome ok:flag attention:flag)...
-- Take a job back that no worker has taken. What still waits somewhere is dropped when it would be given to a worker.
--
-- name         of the lane
-- id           of the job
-- record       the outcome, as Celery keeps results
-- ttl          of the record, s
-- member_results  the member_result of the shutdown that the job is of: see lib/member_result; or none
-- Returns      'cancelled' | 'claimed' | 'ended'
local lane, member_result = keys_of(name), member_results[1]

if ended(redis.call('MGET', RESULT .. id)[1]) then
    return 'ended'
end
if redis.call('HEXISTS', lane.jobs, id .. ':owner') == 1 then
    return 'claimed'
end
write_record(id, record, ttl)
if redis.call('ZREM', lane.due_key, id) == 1 then
    local message = redis.call('HGET', lane.jobs, id)
    redis.call('HDEL', lane.jobs, id, id .. ':tries')
    -- A shutdown's job that its producer cancels is counted when a worker would get it; so it waits for that once more.
    if message and not member_result and string.find(message, '\\"shutdown\\"', 1, true) then
        put_back(lane, message, '')
        announce(lane.name)
    end
end
if member_result then record_member_result(member_result, lane.name) end
return 'cancelled'
