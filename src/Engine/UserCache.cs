using System;
using System.IO;

namespace AdvContrast.Engine;

/// <summary>The folder for files that AdvContrast can make again.</summary>
public static class UserCache
{
    /// <summary>
    /// <c>advcontrast</c> in <c>XDG_CACHE_HOME</c> where that is set, else in <c>.cache</c> of the user's home folder,
    /// else in the folder for temporary files. It need not exist yet.
    /// </summary>
    public static string Folder
    {
        get
        {
            var named = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            if (!string.IsNullOrEmpty(named)) return Path.Combine(named, "advcontrast");
            var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
            return home == ""
                ? Path.Combine(Path.GetTempPath(), "advcontrast")
                : Path.Combine(home, ".cache", "advcontrast");
        }
    }
}
