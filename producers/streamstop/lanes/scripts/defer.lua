-- Keep a claimed job, after a transient fault, until it is due again; rest the lane if it is failing.
--
-- KEYS[12]  result   the job's record in Celery's result backend
-- ARGV[4]   id
-- ARGV[5]   owner    as it claimed
-- ARGV[6]   delay    µs until the job waits again
-- ARGV[7]   tries    the job's history
-- ARGV[8]   record   the state RETRY, as Celery keeps results; it begins with {"status": "RETRY"
-- ARGV[9]   ttl      of the record, s
-- ARGV[10]  call     'fault': it met one of the lane's;  'well': it met none;  'none' was made
-- ARGV[11]  late     µs after its slot at which the call left its worker
-- ARGV[12]  moved    as the claim told it
-- Returns   µs that the lane rests, 0: it does not; -1 where the job is no longer the owner's
local id, owner, delay = ARGV[4], ARGV[5], tonumber(ARGV[6])

if redis.call('HGET', jobs, id .. ':owner') ~= owner then
    return '-1'
end
redis.call('HDEL', jobs, id .. ':owner')
redis.call('HSET', jobs, id .. ':tries', ARGV[7])
redis.call('ZREM', leases, id)
redis.call('ZADD', due, moment(delay), id)
record(KEYS[12], ARGV[8], ARGV[9])

local rest = ARGV[10] == 'fault' and count_fault() or 0
if ARGV[10] == 'none' then refund() end
make_up(tonumber(ARGV[11]), tonumber(ARGV[12]))
admit()
save()
return integer(rest)
