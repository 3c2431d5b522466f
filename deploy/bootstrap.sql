-- Makes the database and its two users on the operator's MariaDB server. Safe to run again.
--   steadyfist_schema  changes the schema; only `manage.py ensure_mariadb_schema` uses it
--   steadyfist         reads and writes rows; every other process uses it and cannot run DDL
-- Set the variables first, in the same session and on standard input, so that no password reaches a process list:
--   SET @app_password = '...', @schema_password = '...';   SOURCE deploy/bootstrap.sql;
SET @database = COALESCE(@database, 'steadyfist');
SET @app_user = COALESCE(@app_user, 'steadyfist');
SET @schema_user = COALESCE(@schema_user, 'steadyfist_schema');
SET @from_host = COALESCE(@from_host, '%');

EXECUTE IMMEDIATE CONCAT('CREATE DATABASE IF NOT EXISTS `', @database, '` CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin');
EXECUTE IMMEDIATE CONCAT('CREATE USER IF NOT EXISTS ', QUOTE(@app_user), '@', QUOTE(@from_host), ' IDENTIFIED BY ', QUOTE(@app_password));
EXECUTE IMMEDIATE CONCAT('CREATE USER IF NOT EXISTS ', QUOTE(@schema_user), '@', QUOTE(@from_host), ' IDENTIFIED BY ', QUOTE(@schema_password));
EXECUTE IMMEDIATE CONCAT('ALTER USER ', QUOTE(@app_user), '@', QUOTE(@from_host), ' IDENTIFIED BY ', QUOTE(@app_password));
EXECUTE IMMEDIATE CONCAT('ALTER USER ', QUOTE(@schema_user), '@', QUOTE(@from_host), ' IDENTIFIED BY ', QUOTE(@schema_password));
EXECUTE IMMEDIATE CONCAT('GRANT SELECT, INSERT, UPDATE, DELETE ON `', @database, '`.* TO ', QUOTE(@app_user), '@', QUOTE(@from_host));
EXECUTE IMMEDIATE CONCAT('GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `', @database, '`.* TO ', QUOTE(@schema_user), '@', QUOTE(@from_host));
