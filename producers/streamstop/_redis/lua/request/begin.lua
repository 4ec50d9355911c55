--! include lib/request
--! args id digest nonce ttl:int
-- Note that a request is under way. Its commands are staged now, and accepted later.
--
-- ttl      of the note, s: if the caller is killed, the request can be made again after it
-- Returns  {'new', nonce}, or what is known of the request
local known = known_request(id, digest)
if known and not (known[1] == 'pending' and known[2] == nonce) then return known end
note_request(id, digest, nonce, 'pending', ttl, '')
return {'new', nonce}
