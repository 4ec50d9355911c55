--! include lib/request
--! args id digest nonce
-- Forget a request that was begun and failed before its commands were accepted.
--
-- Returns  1, or 0 if it is done, or another call has begun it
local known = known_request(id, digest)
if not known or known[1] ~= 'pending' or known[2] ~= nonce then return 0 end
redis.call('HDEL', request_key(id), 'digest', 'nonce', 'state')     -- without fields, the key is gone
return 1
