--! include lib/lane_keys lib/cancel
--! args name id record ttl:int member_results(shutdown member result outcome ok:flag attention:flag)...
-- Cancel a job that no worker has taken. Its message may still wait in the lane; it is dropped when it comes up.
--
-- name            of the lane
-- id              of the job
-- record          the job's record, with its outcome
-- ttl             of the record, s
-- member_results  the member's result if the job is of a shutdown: see lib/member_result; else none
-- Returns         'cancelled' | 'claimed' | 'ended'
local lane = keys_of(name)
local answer = cancel_job(lane, id, record, ttl, member_results[1])
count_cancelled(lane, answer == 'cancelled' and 1 or 0)
return answer
