-- Admit what the lane has waiting; the producer's nudge after it published.
--
-- Returns  how many jobs were admitted
redis.call('SADD', lanes, lane)
local admitted = admit()
save()
return admitted
