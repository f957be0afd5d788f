using System;
using System.IO;

namespace AdvContrast.Engine;

/// <summary>The folder for files that AdvContrast can make again.</summary>
public static class UserCache
{
    /// <summary>
    /// <c>advcontrast</c> in <c>XDG_CACHE_HOME</c> where that is an absolute path, else in <c>.cache</c> of the user's
    /// home folder, else in the folder for temporary files. It need not exist yet.
    /// </summary>
    public static string Folder => OfUser ?? Path.Combine(Path.GetTempPath(), "advcontrast");

    /// <summary>The same, or null for a user without a home: other users can write to the temporary one.</summary>
    internal static string? OfUser
    {
        get
        {
            var named = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            if (Path.IsPathFullyQualified(named ?? "")) return Path.Combine(named!, "advcontrast");
            var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
            return home == "" ? null : Path.Combine(home, ".cache", "advcontrast");
        }
    }
}
