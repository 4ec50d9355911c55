--! include lib/lane_keys lib/announce lib/jobs lib/record lib/member_result
--! const RESULT
--! args name id record ttl:int member_results(shutdown member result outcome ok:flag attention:flag)...
-- Cancel a job that no worker has taken. Its message may still wait in the lane; it is dropped when it comes up.
--
-- name            of the lane
-- id              of the job
-- record          the job's record, with its outcome
-- ttl             of the record, s
-- member_results  the member's result if the job is of a shutdown: see lib/member_result; else none
-- Returns         'cancelled' | 'claimed' | 'ended'
local lane, member_result = keys_of(name), member_results[1]

if has_ended(redis.call('MGET', RESULT .. id)[1]) then
    return 'ended'
end
if redis.call('HEXISTS', lane.jobs, id .. ':owner') == 1 then
    return 'claimed'
end
write_record(id, record, ttl)
if redis.call('ZREM', lane.due_key, id) == 1 then
    local message = redis.call('HGET', lane.jobs, id)
    redis.call('HDEL', lane.jobs, id, id .. ':tries')
    -- A shutdown's job that is cancelled by its id is counted when a worker takes its message. So the message waits again.
    if message and not member_result and string.find(message, '\\"shutdown\\"', 1, true) then
        push_to_front(lane, message, '')
        announce(lane.name)
    end
end
if member_result then record_member_result(member_result, lane.name) end
return 'cancelled'
