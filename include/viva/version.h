/* viva/version.h: the one place where the version is written. The build reads it from here. */
#ifndef VIVA_VERSION_H
#define VIVA_VERSION_H

#define VIVA_VERSION_MAJOR 0
#define VIVA_VERSION_MINOR 1
#define VIVA_VERSION_PATCH 0

#endif
