--! include lib/dead
--! args id
-- Delete a dead letter.
--
-- id       of the dead letter
-- Returns  1, or 0 if there is no such dead letter
return remove_letter(id)
