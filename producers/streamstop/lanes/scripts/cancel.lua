-- Take a job back that no worker has claimed. What still waits somewhere is dropped when it is claimed.
--
-- KEYS[12]  result  the job's record in Celery's result backend
-- ARGV[4]   id
-- ARGV[5]   record  the outcome, as Celery keeps results
-- ARGV[6]   ttl     of the record, s
-- ARGV[7…12]  settlement  of the shutdown that the job is of: see settle_from
-- Returns   'cancelled' | 'claimed' | 'ended'
local id = ARGV[4]

if ended(redis.call('MGET', KEYS[12])[1]) then
    return 'ended'
end
if redis.call('HEXISTS', jobs, id .. ':owner') == 1 then
    return 'claimed'
end
record(KEYS[12], ARGV[5], ARGV[6])
if redis.call('ZREM', due, id) == 1 then
    local message = redis.call('HGET', jobs, id)
    redis.call('HDEL', jobs, id, id .. ':tries')
    -- A shutdown's job that its producer cancels is counted when it is claimed; so it waits for that once more.
    if message and (not ARGV[7] or ARGV[7] == '') and string.find(message, '\\"shutdown\\"', 1, true) then
        put_back(id, message)
    end
end
settle_from(7, lane, math.floor(now / SECOND))
return 'cancelled'
