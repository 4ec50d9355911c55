--! include lib/clock lib/shutdown
--! const SHUTDOWNS_ENDED SHUTDOWNS_TOLD
-- Return the shutdowns that have ended since the last run. Each end is returned once, to one caller.
--
-- Returns  ids of shutdowns, in the order of their ends
local told = redis.call('GET', SHUTDOWNS_TOLD)
-- The first write needs no memory. After it, Redis runs the rest of the script also over its memory limit.
redis.call('EXPIRE', SHUTDOWNS_TOLD, SHUTDOWN_OPEN)
-- What ends in this µs is left to the next run. A clock that was set back begins anew.
redis.call('SET', SHUTDOWNS_TOLD, integer(now), 'EX', SHUTDOWN_OPEN)
if not told then return {} end
return redis.call('ZRANGE', SHUTDOWNS_ENDED, told, '(' .. integer(now), 'BYSCORE')
