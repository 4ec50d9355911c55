--! include lib/request
--! const BATCH BATCHES
--! args id digest nonce ttl:int batch entries:int
-- Accept a staged batch as the commands of a request. The same step notes that the request is done.
--
-- ttl      of the note, s
-- batch    id of the batch
-- entries  how many entries the batch must hold
-- Returns  {'new', nonce}; {'lost'}, if the batch was discarded; or what is known of a request that another call has begun
local known = known_request(id, digest)
if known and not (known[1] == 'pending' and known[2] == nonce) then return known end
if redis.call('LLEN', BATCH .. batch) ~= entries then return {'lost'} end
redis.call('LPUSH', BATCHES, batch)
note_request(id, digest, nonce, 'done', ttl, '')
return {'new', nonce}
